"""The experiment on digits runs, goes on where it stopped, and says what its figures say."""

import dataclasses
import itertools
import json
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2]))

from effebm_ext.runs.data.dataset import load
from experiments.common import over_seeds
from experiments.digits import __main__ as digits
from experiments.digits import report

RUNS = len(digits.ARMS) * len(digits.STEP_SIZES) * 2


def quick(folder):
    done = CliRunner().invoke(digits.main, ["--quick", "--seeds", "2", "--out", str(folder)])
    assert done.exit_code == 0, done.output
    return done.output, json.loads((folder / "results.json").read_text())


def test_quick_run_leaves_everything_it_promises_and_goes_on(tmp_path, monkeypatch):
    output, found = quick(tmp_path)
    assert len(found["runs"]) == RUNS
    assert all(run["diverged"] is None for run in found["runs"])
    assert found["settings"]["gradient_evaluations"] == 8 * 5 * 2
    assert {"torch", "effebm_ext", "python"} <= found["environment"].keys()
    assert 0 < (tmp_path / "digits.png").stat().st_size < 150_000
    for text in (*digits.ARMS, "bytes per chain", "Gaussian of full covariance", "±"):
        assert text in output

    log = tmp_path / "runs.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    assert len(lines) == RUNS
    log.write_text("".join(lines[:-1]) + lines[-1][:40])  # as if stopped while it wrote
    made, run = [], digits.run
    monkeypatch.setattr(digits, "run", lambda *given: made.append(given) or run(*given))
    assert quick(tmp_path)[1]["runs"] == found["runs"]
    assert len(made) == 1
    assert log.read_text().splitlines(keepends=True) == lines


def test_a_run_that_diverges_says_so(monkeypatch):
    dataset, config = load("digits"), dataclasses.replace(digits.QUICK, step_size=1e38)
    assert digits.run(config, dataset)["diverged"].startswith("iteration 1: ")
    monkeypatch.setattr(digits, "LARGEST_ENERGY_GAP", 0.0)
    row = digits.run(dataclasses.replace(config, step_size=0.02), dataset)
    assert row.keys() == {"diverged"}
    assert row["diverged"].endswith("nats apart at the end")


def test_the_gaussian_is_judged_with_the_expectation_over_the_noise():
    dataset, config = load("digits"), digits.BASE
    train, held_out = (d.x.flatten(1).double() for d in dataset.split(0.1, seed=0))
    generator = torch.Generator().manual_seed(0)

    def noisy(x):
        x = x.repeat(100, 1)
        return x + 0.3 * torch.randn(x.shape, generator=generator, dtype=x.dtype)

    fitted = noisy(train)
    law = torch.distributions.MultivariateNormal(fitted.mean(0), fitted.T.cov())
    want = -law.log_prob(noisy(held_out)).mean()
    assert digits.gaussian_cross_entropy(config, dataset) == pytest.approx(float(want), abs=0.15)


def test_bytes_per_chain():
    found = {arm: digits.memory(c, (1, 8, 8)) for arm, c in digits.tasks(digits.QUICK, 1)}
    assert found["clip 5"] == {"state": 256, "residual": 0, "drift": 256}
    assert found["Top-k"] == {"state": 256, "residual": 0, "drift": 6 * (4 + 2)}
    assert found["Block-Sign + feedback"] == {"state": 256, "residual": 256, "drift": 8 + 4}


def test_mean_over_seeds():
    value, error, half_width = over_seeds.mean([1.0, 2.0, 3.0])
    assert (value, error) == pytest.approx((2.0, 3**-0.5))
    assert half_width == pytest.approx(4.3027 * error, rel=1e-4)  # Student's t, 2 degrees


def results(scores, diverged=()):
    """Made up: cross-entropies by arm, of three seeds, the lowest at the step size 0.02; of the
    arms in ``diverged`` seed 0 has none."""
    runs = []
    for arm, step_size, seed in itertools.product(scores, digits.STEP_SIZES, range(3)):
        value = scores[arm] + 5 * seed + 0.01 * (seed == 1) * len(arm) + (step_size != 0.02)
        run = {"arm": arm, "step_size": step_size, "seed": seed, "diverged": None}
        run |= {"forward": value - 0.1, "reverse": value + 0.1, "energy_gap": 0.0}
        run |= {"forward_ais_error": 0.1, "reverse_ais_error": 0.1}
        if arm in diverged and seed == 0:
            run["diverged"] = "iteration 1"
        runs.append(run)
    settings = {"arms": digits.ARMS, "step_sizes": digits.STEP_SIZES, "seeds": [0, 1, 2]}
    settings["gradient_evaluations"] = 1
    return {"runs": runs, "settings": settings, "gaussian": [42.0, 47.0, 52.0]}


def arms(changes):
    return dict.fromkeys(digits.ARMS, 40.0) | changes


def test_findings_name_the_winner():
    lines = "\n".join(report.findings(results(arms({"none": 39.0, "clip 5": 38.0, "Top-k": 37.0}))))
    assert "lowest cross-entropy is that of Top-k (step size 0.02), 42.02 nats" in lines
    assert "a Gaussian has 47.00" in lines
    for reference in ("none", "clip 5"):
        assert (
            f"arms better than {reference} by more than the seeds' scatter explains: Top-k."
            in lines
        )
    assert "Top-k + feedback (step size 0.08) against Top-k alone: worse, +3.0" in lines
    assert "end of the grid" not in lines
    assert "AIS" not in lines


def test_findings_say_so_where_no_compressed_arm_wins():
    found = results(arms({"none": 39.0, "clip 5": 39.0, "Block-Sign": 90.0}), diverged=["Top-k"])
    found["runs"][0]["forward"] += 4
    lines = "\n".join(report.findings(found))
    assert (
        "arms better than clip 5 by more than the seeds' scatter explains: none of them." in lines
    )
    assert "Worse than the Gaussian even at their best: Block-Sign." in lines
    assert "Top-k: runs diverged at every step size." in lines
    assert "clip 5 (step size 0.02) against none (step size 0.02): undecided" in lines
    assert "apart, so neither is to be trusted to a nat: none (step size 0.005)." in lines
    assert "33%" in report.table(found)


def test_runs_are_compared_by_bennett_where_they_have_it():
    run = {"forward": 36.0, "reverse": 38.0}
    assert report.cross_entropy(run) == 37.0
    assert report.cross_entropy(run | {"bennett": 36.4}) == 36.4


def test_everything_diverged(tmp_path):
    found = results(arms({}), diverged=digits.ARMS)
    found["runs"] = [{**run, "diverged": "iteration 1"} for run in found["runs"]]
    assert len(report.findings(found)) == len(digits.ARMS)
    assert "100%" in report.table(found)
    report.save_plot(tmp_path / "x.png", found)


def test_every_arm_has_a_line_in_the_plot():
    assert report._LINES.keys() == digits.ARMS.keys()
