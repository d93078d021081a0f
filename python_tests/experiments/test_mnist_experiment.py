"""The study of compression on MNIST, in its quick form, and its table of memory."""

import gzip
import json
import math
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers import normal
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

import effebm_ext as eff
from effebm_ext.energies import energy_and_gradient
from experiments.mnist import __main__ as mnist
from experiments.mnist import walkers
from experiments.mnist.memory import PARTS, SETTINGS, activations, bytes_per_chain
from experiments.mnist.pictures import nearest
from experiments.mnist.report import differences

D = 784


@pytest.fixture
def source(tmp_path):
    """600 pictures of noise in an IDX file."""
    images = np.random.default_rng(0).integers(0, 256, (600, 28, 28), dtype=np.uint8)
    header = struct.pack(">4I", 0x0803, *images.shape)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(header + images.tobytes(), 1))
    return f"mnist:{tmp_path}"


def test_quick_run_leaves_what_it_promises_and_goes_on(source, tmp_path, monkeypatch):
    arms = ("none", "Top-k 1 % + feedback")
    made, once = [], mnist.run
    monkeypatch.setattr(mnist, "run", lambda *given: made.append(1) or once(*given))
    flags = ["--data", source, "--quick", "--seeds", "1", "--out", str(tmp_path / "out")]
    flags += [word for arm in arms for word in ("--arm", arm)]
    for _ in range(2):
        done = CliRunner().invoke(mnist.main, flags)
        assert done.exit_code == 0, done.output
    assert len(made) == 2  # the runs of the first call are not repeated
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert str(tmp_path) not in json.dumps(found)
    assert [run["arm"] for run in found["runs"]] == list(arms)
    for run in found["runs"]:
        assert {"bennett", "forward", "reverse"} <= run.keys()
        assert min(run["nearest of samples"], run["nearest of held out"]) > 0
        assert (tmp_path / "out" / f"{run['arm']}, 0.png").exists()
    assert len(found["bytes_per_chain"]) == 2 * len(SETTINGS)
    assert (tmp_path / "out" / "nats.png").exists()
    assert (tmp_path / "out" / "memory.png").exists()
    assert "bytes per chain" in done.output
    assert "Gaussian" in done.output


def test_walkers_are_compared_on_pictures(source, tmp_path):
    flags = ["--data", source, "--quick", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(walkers.main, flags)
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert len(rows) == len(walkers.ARMS) * len(walkers.LEARNING_RATES)
    for row in rows:
        assert [look["iteration"] for look in row["history"]] == [1, 2]
        assert all(math.isfinite(look["forward"]) for look in row["history"])
        weighted = row["arm"].startswith("Jarzynski")
        assert ("followers_log_z_error" in row["history"][0]) == weighted
        assert ("ess" in row) == weighted
    assert len(list((tmp_path / "out").glob("*.png"))) == len(rows)
    assert "particles, alpha" in done.output


def test_every_arm_is_a_configuration():
    base = {"data": "mnist:x", "energy": "resnet", "iterations": 7}
    arms = dict(mnist.tasks(base, list(mnist.ARMS), 1, quick=False))
    assert len(arms) == 15
    assert [config.error_feedback for config in arms.values()] == (
        [False] * 6 + [True] * 4 + [False, True, False, False, True]
    )
    assert {(config.energy, config.iterations) for config in arms.values()} == {("resnet", 7)}


def test_differences_are_between_runs_of_one_seed():
    runs = [
        {"arm": arm, "seed": seed, "diverged": why, "bennett": nats}
        for arm, seed, why, nats in (
            ("none", 0, None, 10.0), ("none", 1, None, 20.0), ("none", 2, "lost", 0.0),
            ("other", 1, None, 21.0), ("other", 0, None, 13.0), ("other", 2, None, 5.0),
        )
    ]  # fmt: skip
    assert sorted(differences({"runs": runs}, "other")) == [1.0, 3.0]


def test_total_bytes_count_moving_and_resting_chains():
    part = dict.fromkeys(PARTS, 0) | {"chain": 3, "gradient": 5, "activations": 7, "drift": 1000}
    rows = [
        part | {"arm": arm, "setting": setting, "resting chain": rest, "resting residual": rest}
        for arm in ("none", "buffer", "buffer, all that saves")
        for setting, rest in zip(SETTINGS, (100, 0, 0, 0, 0, 20), strict=True)
    ]
    base = {"data": "mnist:x", "energy": "conv", "iterations": 7}
    configs = mnist.tasks(base, ["none", "buffer", "buffer, all that saves"], 1, quick=False)
    assert dict(mnist.total_bytes(rows, dict(configs))) == {
        "none": 64 * 15,
        "buffer": 64 * 15 + 512 * 200,
        "buffer, all that saves": 64 * 15 + 512 * 40,
    }


def test_nearest_neighbours_are_found_by_distance():
    data = torch.zeros(3, 1, 2, 2)
    data[1], data[2] = 1.0, 5.0
    x = torch.stack([data[2] + 0.5, data[1], data[0] + 0.1])
    distance, number = nearest(x, data)
    assert number.tolist() == [2, 1, 0]
    torch.testing.assert_close(distance, torch.tensor([1.0, 0.0, 0.2]))


def test_bytes_per_chain_are_those_of_the_dtypes():
    x, energy = normal(4, 1, 28, 28), nn.Sequential(nn.Flatten(), nn.Linear(D, 16), nn.SiLU(),
                                                    nn.Linear(16, 1))  # fmt: skip
    topk = eff.TopK(78)
    wide, short, _, codes, _, saving = (bytes_per_chain(energy, x, s, topk, True) for s in SETTINGS)
    assert (wide["chain"], wide["residual"], wide["gradient"]) == (4 * D, 4 * D, 4 * D)
    assert (short["chain"], short["gradient"]) == (2 * D, 2 * D)
    assert short["residual"] == 4 * D  # residuals of chains in motion are float32
    assert (wide["drift"], short["drift"]) == (78 * (4 + 2), 78 * (4 + 2))
    for row in (codes, saving):
        assert (row["resting chain"], row["resting residual"]) == (D, D)
    # Activations of 16 bits, and states and gradients of 32.
    assert (saving["chain"], saving["gradient"]) == (4 * D, 4 * D)
    assert saving["activations"] == short["activations"] == 2 * 16
    bare = bytes_per_chain(energy, x, "float32", None, False)
    assert (bare["residual"], bare["drift"]) == (0, 4 * D)


def test_activations_are_those_of_the_layers():
    energy = nn.Sequential(nn.Flatten(), nn.Linear(D, 16, bias=False), nn.SiLU(), nn.Linear(16, 1))
    x = normal(4, 1, 28, 28)
    kept, gradient = activations(energy, x, torch.float32)
    assert kept == 4 * 16 * 4  # what goes into SiLU
    assert torch.equal(gradient, energy_and_gradient(energy, x)[1])
