"""The experiment finds the closed forms of compressed chains again."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy import integrate, special, stats

sys.path.insert(0, str(Path(__file__).parents[2]))

from effebm_ext.bias import plain
from experiments.compression_bias import __main__ as compression_bias
from experiments.compression_bias import chains
from experiments.compression_bias import closed_forms as forms


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.5, 0.9])
def test_forms_for_other_energies_agree_on_the_standard_normal(ratio):
    grid = np.linspace(-30, 30, 60001)
    weight = forms.topk_density(grid, grid, ratio)
    variance = integrate.trapezoid(weight * grid**2, grid)
    assert variance == pytest.approx(plain.FlatTop(ratio).var(), rel=2e-3)
    weight = forms.block_sign_density(grid, grid)
    np.testing.assert_allclose(weight, stats.laplace.pdf(grid), atol=1e-3)


def test_density_of_the_skewed_target():
    grid = np.linspace(-80, 20, 50001)
    weight = forms.density(grid, 5 * special.expit(grid) - 1)
    mean = special.digamma(1) - special.digamma(4)
    assert integrate.trapezoid(weight * grid, grid) == pytest.approx(mean, rel=1e-5)


def test_what_the_laws_of_rows_would_cost_on_digits():
    for law, variance, nats in (
        (plain.TopKRow(6, 64), 3.757, 46),
        (plain.SignBlock(64), 1.969, 9.3),
    ):
        assert law.var() == pytest.approx(variance, abs=5e-4)
        cost = 64 * forms.excess_cross_entropy(law.var())
        assert cost == pytest.approx(nats, rel=0.005)


def test_estimates():
    samples = torch.tensor([1.0, 2.0, 4.0, 7.0])
    assert chains.jackknife(torch.mean, samples) == pytest.approx(chains.mean(samples))
    pair = torch.tensor([[1.0, 2.0], [3.0, -4.0]])
    assert chains.squared_norm(pair) == -5
    noisy = torch.randn(2000, 100, generator=torch.Generator().manual_seed(0)) + 0.1
    found = chains.jackknife(chains.squared_norm, noisy)
    assert abs(found.value - 1) < 4 * found.error < 0.2


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quick")
    done = CliRunner().invoke(compression_bias.main, ["--quick", "--out", str(folder)])
    assert done.exit_code == 0, done.output
    return done.output, folder


@pytest.fixture(scope="module")
def results(quick):
    return json.loads((quick[1] / "results.json").read_text())["results"]


def close(estimate, expected, *, bias=0.0):
    """Within four standard errors and the stated relative bias."""
    value, error = estimate
    return 0 < error < 0.05 * value and abs(value - expected) < 4 * error + bias * expected


def test_quick_run_leaves_everything_it_promises(quick):
    output, folder = quick
    report = json.loads((folder / "results.json").read_text())
    assert len(report["settings"]["seeds"]) >= 3
    assert report["environments"].keys() == report["results"].keys()
    for environment in report["environments"].values():
        assert {"torch", "effebm_ext", "scipy"} <= environment.keys()
    for name in ("densities.png", "bias.png"):
        assert 0 < (folder / name).stat().st_size < 150_000
    for text in ("Top-k 0.1 + feedback", "Block-Sign 64", "learned precision", "rotated", "±"):
        assert text in output


def test_plain_chains_follow_the_closed_forms(results):
    rows = [r for r in results["entries"] + results["lengths"] if not r["feedback"]]
    assert {r["chain"] for r in rows} == {"Top-k 0.1", "Block-Sign 64", "Block-Sign 320"}
    for row in rows:
        assert close(row["variance"], row["variance_expected"], bias=row["step_size"] / 10)
        distance, error = row["distance_expected"]
        assert distance < row["distance_by_noise"] + 4 * error + row["step_size"] / 5
        assert abs(row["mean_bias"][0]) < 4 * row["mean_bias"][1]


def test_feedback_restores_the_target_but_for_what_the_identity_says(results):
    rows = [r for r in results["entries"] + results["lengths"] if r["feedback"]]
    assert len(rows) == 7
    for row in rows:
        assert close(row["variance"], row["variance_by_identity"][0], bias=0.002)
        if row["step_size"] == 0.02:
            assert close(row["variance"], 1.0, bias=0.04)
        elif row["chain"].startswith("Top-k"):
            assert close(row["variance"], 1.28, bias=0.01)


def test_ill_conditioned_and_skewed_targets(results):
    for row in results["skewed"]:
        assert close([-row["mean"][0], row["mean"][1]], -row["mean_expected"], bias=0.005)
    for row in results["ill_conditioned"]:
        bias, error = row["mean_bias_squared"]
        assert abs(bias) < 5 * error
        if "trace_by_identity" in row:
            assert close(row["trace"], row["trace_by_identity"][0])
    whole = {r["chain"]: r for r in results["ill_conditioned"] if not r["rotated"]}
    sign = whole["Block-Sign 32"]
    assert sign["soft"][0] < 0.2
    assert sign["stiff"][0] > 5
    assert whole["Top-k 0.5"]["soft"][0] > 2


def test_what_is_learned_is_the_variance_of_the_compressed_chain(results):
    for row in results["learned"]:
        if row["feedback"]:
            assert 1.04 < row["precision"][0] < 1.12
            assert row["excess"][0] < 0.005
        else:
            assert row["precision"][0] == pytest.approx(row["precision_expected"], rel=0.02)
            assert row["excess"][0] == pytest.approx(row["excess_expected"], rel=0.04)


def test_weights_and_metropolis_steps_correct_what_compression_does(results):
    for study, figure in (("followed", "variance"), ("learned_by_walkers", "precision")):
        corrected = [row for row in results[study] if "ess" in row]
        assert len(corrected) == 2 * len(results[study]) / 3
        for row in corrected:
            assert close(row[figure], 1.0, bias=0.1)
            if row["lowest_ess"] > 0.2:  # log Z by weights alone is lost where these collapse
                assert abs(row["log_z_error"][0]) < 4 * row["log_z_error"][1] + 0.3
            assert 0 < row["lowest_ess"] <= row["ess"][0] <= 1
            assert ("acceptance" in row) == ("MALA" in row["chain"])
        (plain,) = (row for row in results[study] if row["chain"] == "Top-k 0.1")
        assert plain[figure][0] > 2


def test_a_study_of_its_own_leaves_the_others(tmp_path):
    def run(*arguments):
        given = ["--quick", "--out", str(tmp_path), *arguments]
        done = CliRunner().invoke(compression_bias.main, given)
        assert done.exit_code == 0, done.output
        return json.loads((tmp_path / "results.json").read_text())

    before = run("--study", "skewed")
    after = run("--study", "followed")
    assert list(before["results"]) == ["skewed"]
    assert after["results"]["skewed"] == before["results"]["skewed"]
    assert after["environments"].keys() == {"skewed", "followed"}
