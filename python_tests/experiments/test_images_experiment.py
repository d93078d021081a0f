"""The study of images, in its quick form, and its measures."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers import normal

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.images.__main__ import PEERS, main
from experiments.images.crops import crops
from experiments.images.ingredients import SpectralConvEnergy
from experiments.images.ingredients import main as compare_ingredients
from experiments.images.measures import COMPONENTS, denoising_loss, frechet, measure
from experiments.images.networks import main as compare_networks


def test_the_quick_study_measures_ours(tmp_path):
    done = CliRunner().invoke(
        main, ["--quick", "--arm", "ours", "--arm", "no compression", "--out", str(tmp_path)]
    )
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "results-0.json").read_text())
    rows = found["runs"]
    assert found["data"] == "crops"  # without the folder
    assert [row["arm"] for row in rows] == ["ours", "no compression"]
    for row in rows:
        assert row["iterations"] == 2
        assert 0.3 < row["spread"] < 3
        assert row["distance"] > 0
        assert set(row["denoising_loss"]) == {"trained on", "held out"}
    assert (tmp_path / "ours-0.png").exists()
    assert (tmp_path / "no-compression-0" / "report.html").exists()
    assert "no compression" in done.output


def test_a_run_of_other_data_or_options_is_not_taken(tmp_path):
    quick = ["--quick", "--arm", "ours", "--out", str(tmp_path)]
    assert CliRunner().invoke(main, quick).exit_code == 0
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    np.save(tmp_path / "a.npy", crops(40, seed=1))
    for flags in (["--data", str(tmp_path / "a.npy")], ["--data", str(tmp_path / "crops.npy")]):
        done = CliRunner().invoke(main, [*flags, *quick[1:]])
        assert done.exit_code == 2
        assert f"out: {tmp_path / 'ours-0'} has a run of other " in done.output
        assert ("other data, " in done.output) == ("a.npy" in flags[1])
        assert ", iterations," in done.output
    assert {path: path.read_bytes() for path in kept} == kept
    done = CliRunner().invoke(main, quick)
    assert done.exit_code == 0  # the same run again
    assert json.loads((tmp_path / "results-0.json").read_text())["runs"][0]["iterations"] == 2
    metrics = tmp_path / "ours-0" / "metrics.jsonl"
    assert metrics.read_bytes() == kept[metrics]  # its times too: it was not repeated


def test_other_libraries_take_the_time_of_ours(tmp_path, monkeypatch):
    taken = []

    def peer(data, seconds, seed):
        taken.append(seconds)
        return data[:8], 1

    monkeypatch.setitem(PEERS, "ebmkit", peer)
    quick, out = ["--quick", "--arm", "ebmkit"], ["--out", str(tmp_path)]
    for arms in (quick, [*quick, "--arm", "no compression"]):
        done = CliRunner().invoke(main, [*arms, *out])
        assert done.exit_code == 2
        assert "seconds: expected --seconds, or the arm ours" in done.output
        assert not (tmp_path / "no-compression-0").exists()  # nothing was trained in vain
    assert CliRunner().invoke(main, [*quick, *out, "--seconds", "0.5"]).exit_code == 0
    assert CliRunner().invoke(main, [*quick, "--arm", "ours", *out]).exit_code == 0
    assert CliRunner().invoke(main, [*quick, *out]).exit_code == 0
    last = (tmp_path / "ours-0" / "metrics.jsonl").read_text().splitlines()[-1]
    seconds = json.loads(last)["seconds"]
    assert taken == [0.5, pytest.approx(seconds), pytest.approx(seconds)]


def test_networks_are_compared_by_their_held_out_loss(tmp_path):
    np.save(tmp_path / "crops.npy", crops(40))
    flags = ["--data", str(tmp_path / "crops.npy"), "--network", "conv", "--network", "unet"]
    done = CliRunner().invoke(compare_networks, [*flags, "--seconds", "0.01"])
    assert done.exit_code == 0, done.output
    found = {line.split()[0]: line.split()[1:] for line in done.output.splitlines()[1:]}
    assert set(found) == {"conv", "unet"}
    assert all(int(n) >= 1 and float(loss) > 0 for n, loss in found.values())


def test_ingredients_are_compared_and_kept(tmp_path):
    np.save(tmp_path / "crops.npy", crops(40))
    flags = ["--data", str(tmp_path / "crops.npy"), "--out", str(tmp_path)]
    arms = ["plain", "spectral norm", "recipe igebm", "base, denoising loss, warm-up"]
    flags += [flag for arm in arms for flag in ("--arm", arm)]
    done = CliRunner().invoke(compare_ingredients, [*flags, "--steps", "20", "--chains", "4"])
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert [row["arm"] for row in rows] == arms
    assert all(row["diverged"] is None and row["distance"] > 0 for row in rows)
    kept = [json.loads(line)["config"] for line in (tmp_path / "runs.jsonl").open()]
    assert [config["iterations"] for config in kept] == [2, 2, 1, 102]
    assert [config["langevin_steps"] for config in kept] == [10, 10, 60, 10]
    results = (tmp_path / "results.json").read_bytes()
    np.save(tmp_path / "crops.npy", crops(40, seed=1))
    done = CliRunner().invoke(compare_ingredients, [*flags, "--steps", "20", "--chains", "4"])
    assert done.exit_code == 2
    assert f"out: {tmp_path} has runs of other data of the name crops" in done.output
    assert (tmp_path / "results.json").read_bytes() == results


@pytest.mark.parametrize(
    ("command", "flag", "least"),
    [
        (compare_ingredients, "--steps", 1),
        (compare_ingredients, "--chains", 1),
        (compare_networks, "--seconds", 0),
        (compare_networks, "--learning-rate", 0),
    ],
)
def test_numbers_below_the_least_are_refused(command, flag, least):
    done = CliRunner().invoke(command, ["--data", "x.npy", flag, "0"])
    assert done.exit_code == 2
    assert f"0{'.0' * (least == 0)} is not in the range x>{'=' * least}{least}" in done.output


def test_a_spectral_norm_is_1_for_every_layer():
    energy = SpectralConvEnergy((1, 8, 8))
    for _ in range(300):  # the norm is an estimate that every pass in training refines
        energy(normal(1, 1, 8, 8))
    weights = [layer.weight for layer in energy.net if hasattr(layer, "weight")]
    assert len(weights) == 4
    for weight in weights:
        norm = torch.linalg.matrix_norm(weight.detach().flatten(1), 2)
        assert float(norm) == pytest.approx(1, abs=0.01)


def test_crops_are_repeatable_images():
    images = crops(3)
    assert (images.shape, str(images.dtype)) == ((3, 3, 32, 32), "uint8")
    assert (images == crops(3)).all()
    assert not (images[0] == crops(3, seed=1)[0]).all()
    assert images.std() > 20


def test_the_distance_is_that_of_two_gaussians():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(200_000, 2, generator=generator, dtype=torch.float64)
    b = 3 + 2 * torch.randn(200_000, 2, generator=generator, dtype=torch.float64)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, b) == pytest.approx(2 * 3**2 + 2 * (2 - 1) ** 2, rel=0.02)


def test_the_denoising_loss_is_least_for_the_true_energy():
    """The data are Gaussian, and their noisy density is too."""

    class Gaussian(torch.nn.Module):
        def __init__(self, variance):
            super().__init__()
            self.variance = variance

        def forward(self, x):
            return x.square().flatten(1).sum(1) / (2 * self.variance)

    data, sigma, d = normal(700, 1, 8, 8), 0.5, 64
    found = {v: denoising_loss(Gaussian(v), data, sigma) for v in (1 + sigma**2, 0.8, 1.8)}
    for variance, (loss, error) in found.items():
        shrinks = sigma**2 / variance  # the denoiser is y (1 - shrinks)
        expected = d * (shrinks**2 * (1 + sigma**2) - 2 * shrinks * sigma**2 + sigma**2) / 2
        assert loss == pytest.approx(expected, abs=4 * error)
        assert 0 < error < 0.02 * expected
    assert min(found, key=lambda v: found[v]) == 1 + sigma**2


def test_samples_that_are_data_are_at_the_floor():
    data = normal(500, 1, 8, 8)
    found = measure(data[:64], data, normal(500, 1, 8, 8, seed=1))
    assert found["distance"] == found["floor"]
    assert found["spread"] == pytest.approx(1, abs=0.05)
    far = measure(data[:64] + 1, data, normal(500, 1, 8, 8, seed=1))
    assert far["distance"] > found["distance"] + 0.1 * COMPONENTS / 64
    lost = measure(math.nan * data[:64], data, data)
    assert (lost["finite"], lost["distance"]) == (False, None)
