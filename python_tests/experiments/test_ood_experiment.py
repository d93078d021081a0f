"""The study of out-of-distribution detection, in its quick form, and its figures."""

import gzip
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers import normal

sys.path.insert(0, str(Path(__file__).parents[2]))

from effebm_ext.energies import score_of
from effebm_ext.losses import sm
from experiments.out_of_distribution import __main__ as study
from experiments.out_of_distribution.detection import (
    GROUPS,
    KINDS,
    by_all_scores,
    detection,
    others,
    scores,
    standard_error,
)
from experiments.out_of_distribution.runs import SIGMA, GaussianEnergy, score_matching_loss
from experiments.score_matching import cost as score_cost


def write_pictures(folder, seed):
    """600 pictures of 28 x 28: bright bars of random places, upright or lying."""
    random = np.random.default_rng(seed)
    images = np.zeros((600, 28, 28), np.uint8)
    for image, at in zip(images, random.integers(0, 24, 600), strict=True):
        image[:, at : at + 4] = random.integers(100, 256)
    images = images if seed else images.swapaxes(1, 2)
    folder.mkdir()
    header = struct.pack(">4I", 0x0803, *images.shape)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))


def run(*options):
    done = CliRunner().invoke(study.main, [*map(str, options)])
    assert done.exit_code == 0, done.output
    return done.output


def test_quick_run_leaves_what_it_promises_and_goes_on(tmp_path, monkeypatch):
    write_pictures(tmp_path / "a", 0)
    write_pictures(tmp_path / "b", 1)
    sets = (f"mnist:{tmp_path / 'a'}", f"fashion-mnist:{tmp_path / 'b'}")
    flags = ("--quick", "--seeds", 1, "--data", *sets, "--out", tmp_path / "out")
    output = run("--parts", "detection", "--objective", "fd-dsm", *flags)
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert str(tmp_path) not in json.dumps(found)
    runs = found["detection"]["runs"]
    assert [(r["data"], r["arm"]) for r in runs] == [
        (data, arm) for arm in ("gaussian", "fd-dsm") for data in ("mnist", "fashion-mnist")
    ]
    for row in runs:
        assert row["rows"] == 25  # half of a tenth of 500
        assert row["detection"].keys() == GROUPS.keys()
        for of_score in row["detection"].values():
            assert of_score.keys() == set(KINDS)
            assert all(0 <= f["auroc"] <= 1 for f in of_score.values())
    # Bars that lie across those of the training are told apart by any covariance.
    assert runs[0]["detection"]["energy"]["rotated"]["auroc"] == 1
    assert (tmp_path / "out" / "out_of_distribution.png").exists()
    assert "typicality of 2" in output

    made, once = [], study.run
    monkeypatch.setattr(study, "run", lambda task: made.append(task.arm) or once(task))
    monkeypatch.setattr(score_cost, "peak_bytes", lambda method, scale: 1)  # seconds each
    output = run("--objective", "fd-dsm", "--objective", "dsm", *flags)
    assert made == ["dsm", "dsm"]
    steps = json.loads((tmp_path / "out" / "results.json").read_text())["cost"]["steps"]
    assert [row["method"] for row in steps] == [*score_cost.ALL]
    assert steps[0]["seconds_of_dsm"] == 1
    assert "fd_ssm*" in output


def test_detection_needs_data():
    done = CliRunner().invoke(study.main, ["--quick"])
    assert done.exit_code != 0
    assert "expected --data" in done.output


def test_the_standard_error_is_that_of_repeated_samples():
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(200):
        inside, out = torch.randn(2, 100, generator=generator)
        found.append(detection(inside, out + 1))
    spread = np.std([f["auroc"] for f in found])
    assert np.mean([f["error"] for f in found]) == pytest.approx(spread, rel=0.2)
    assert np.mean([f["auroc"] for f in found]) == pytest.approx(0.760, abs=0.01)  # Phi(1/sqrt 2)
    assert standard_error(1.0, 10, 10) == 0


def test_typicality_is_the_distance_of_groups_from_the_mean():
    energies = torch.tensor([1.0, 3.0, 6.0, 8.0, 100.0])
    assert scores(energies, 4.0, None).tolist() == energies.tolist()
    assert scores(energies, 4.0, 2).tolist() == [2.0, 3.0]
    # Pictures that are all too likely are found by their distance, and not by their energy.
    found = by_all_scores(normal(60), {"flat": normal(60, seed=1) / 4 - 9}, 0.0)
    assert found["energy"]["flat"]["auroc"] == 0
    assert found["typicality of 2"]["flat"]["auroc"] == 1


def test_other_pictures_are_what_their_names_say():
    x = normal(5, 1, 6, 6)
    found = others(x, -x, torch.Generator().manual_seed(0))
    assert list(found) == list(KINDS)
    assert torch.equal(found["rotated"][0, 0], x[0, 0].T.flip(0))
    assert not torch.equal(found["permuted"], x)
    assert torch.equal(found["permuted"].flatten(1).sort().values, x.flatten(1).sort().values)
    assert -1 <= found["uniform noise"].min() < found["uniform noise"].max() <= 1


def test_the_loss_is_that_of_exact_score_matching():
    x, noise = normal(20_000, 1, 2, 2), normal(20_000, 1, 2, 2, seed=1)
    exact, terms = sm(score_of(_quartic), x + SIGMA * noise)
    assert terms["trace"] < -4
    assert score_matching_loss(_quartic, x, noise) == pytest.approx(float(exact.detach()), abs=0.3)


def _quartic(y):
    return (y**4).flatten(1).sum(1) / 10


def test_the_gaussian_is_that_of_noisy_pictures():
    x = normal(3000, 1, 2, 2) * torch.tensor([[1.0, 2.0], [0.5, 0.1]]) + 3
    y = 3 + normal(7, 1, 2, 2, seed=1)
    noise = SIGMA * normal(100, *x.shape, seed=2)
    flat = (x + noise).flatten(2).flatten(0, 1)
    law = torch.distributions.MultivariateNormal(flat.mean(0), flat.T.cov())
    want, got = -law.log_prob(y.flatten(1)), GaussianEnergy(x, SIGMA)(y)
    assert torch.allclose(got - got[0], want - want[0], rtol=0.01, atol=0.05)
