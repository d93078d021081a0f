"""The experiment on score matching runs, and measures what it says."""

import json
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2]))

from effebm_ext.runs.data.dataset import load
from experiments.score_matching import __main__ as score_matching
from experiments.score_matching import agreement as score_agreement
from experiments.score_matching import cost as score_cost
from experiments.score_matching import learning as score_learning


def quick(folder, *options):
    arguments = ["--quick", "--seeds", "2", "--out", str(folder), *options]
    done = CliRunner().invoke(score_matching.main, arguments)
    assert done.exit_code == 0, done.output
    return done.output, json.loads((folder / "results.json").read_text())


def test_peak_memory_is_of_a_process_of_its_own():
    assert score_cost.peak_bytes("fd_ssm", "quick") > 0


def test_the_quick_run_leaves_everything_it_promises(tmp_path, monkeypatch):
    monkeypatch.setattr(score_cost, "peak_bytes", lambda method, scale: 1)  # seconds each
    output, found = quick(tmp_path, "--parts", "cost,agreement")
    assert found.keys() == {"cost", "agreement"}
    pairs = [row["pair"] for row in found["cost"]["results"]["ratios"]]
    assert pairs == ["ssm -> fd_ssm", "dsm -> fd_dsm"]
    for row in found["cost"]["results"]["steps"]:
        assert min(row["seconds"], row["kept_bytes"], row["peak_bytes"]) > 0
    assert len(found["agreement"]["results"]) == 2 * 2 * len(score_agreement.QUICK.epsilons)
    for text in ("ms per step", "fd_dsm, float64", "ssm -> fd_ssm"):
        assert text in output

    output, more = quick(tmp_path, "--parts", "learning")
    assert more["cost"] == found["cost"]
    rows = more["learning"]["results"]
    assert [row["method"] for row in rows] == [*score_learning.METHODS] * 2
    assert all([p["iteration"] for p in row["curve"]] == [0, 2, 4] for row in rows)
    assert all(0 <= value <= 1 for row in rows for value in row["auroc"].values())
    pictures = {p.name for p in tmp_path.glob("*.png")}
    assert pictures == {"agreement.png", "curves.png", "samples-fd-ssm.png", "samples-fd-dsm.png"}
    assert "held-out SM loss" in output
    done = CliRunner().invoke(score_matching.main, ["--parts", "cost,all"])
    assert done.exit_code != 0
    assert "got ['all']" in done.output


@pytest.mark.parametrize("method", score_cost.ALL)
def test_kept_bytes_grow_with_the_batch_and_are_less_by_finite_differences(method):
    energy, x = score_cost.problem(score_cost.QUICK)
    whole = score_cost.kept_bytes(method, energy, x)
    assert score_cost.kept_bytes(method, energy, x[:2]) == pytest.approx(whole / 2, rel=0.1)
    if method.startswith(
        "fd_ssm"
    ):  # the forward passes of 3 n rows, against one of n differentiated twice
        assert whole < 0.8 * score_cost.kept_bytes("ssm", energy, x)


def test_gradients_agree_better_the_smaller_epsilon_in_float64():
    rows = score_agreement.measure(load("digits"), quick=True)
    for method in ("fd_ssm", "fd_dsm"):
        coarse, fine = (
            row["error"] for row in rows if (row["method"], row["dtype"]) == (method, "float64")
        )
        assert fine < coarse / 50  # tenfold smaller epsilon, of second order
    assert all(row["error"] < 0.01 for row in rows if row["epsilon"] == 0.1)


def test_all_methods_are_judged_on_the_same_rows():
    config, dataset = score_learning.QUICK.config, load("digits")
    x = score_learning.held_out(config, dataset)
    assert torch.equal(x, score_learning.held_out(config, dataset))
    clean = dataset.split(config.holdout, seed=config.seed)[1].x
    assert float((x - clean).std()) == pytest.approx(0.3, rel=0.02)
