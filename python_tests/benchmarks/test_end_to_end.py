"""benchmarks/end_to_end.py: what it refuses to time, and what it reports."""

import json
import sys
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import end_to_end
import peers

from effebm_ext.networks import MLPEnergy


@pytest.fixture
def tiny(monkeypatch):
    """Only a small case."""
    case = end_to_end.Case(lambda: MLPEnergy((2,), width=4, depth=1), 8, (2,), 3)
    monkeypatch.setattr(end_to_end, "CASES", {"tiny": case})
    return case


def test_arms_of_other_laws_are_refused():
    end_to_end.check_law("plain", peers.plain)
    end_to_end.check_law("ours", peers.ours())
    with pytest.raises(click.ClickException, match="hot: expected a variance of"):
        end_to_end.check_law("hot", peers.ours(temperature=1.5))
    for factor in (0.8, 1.25):
        other = peers.ours(step_size=factor * peers.STEP_SIZE)
        with pytest.raises(click.ClickException, match="other: expected a mean of"):
            end_to_end.check_law("other", other)


def test_plain_loops_leave_the_network_as_it_was():
    network = nn.Linear(2, 1)
    peers.plain(network, torch.randn(4, 2), 2)
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_ratios_are_over_the_best_of_this_library():
    case = end_to_end.Case(lambda: None, 1, (1,), 10)
    seconds = {
        ("plain loop", 1): 0.04,
        ("plain loop", 2): 0.03,
        ("ours", 1): 0.02,
        ("ours", 2): 0.05,
    }
    found = end_to_end.summary(case, seconds)
    assert found["plain loop"] == {
        "ms": pytest.approx(3),
        "threads": 2,
        "over_ours": pytest.approx(1.5),
    }
    assert found["ours"] == {"ms": pytest.approx(2), "threads": 1, "over_ours": pytest.approx(1)}


def test_a_run_times_every_arm_and_writes_json(tiny, tmp_path):
    out = tmp_path / "times.json"
    options = ["--threads", "1", "--seconds", "0.01", "--no-compiled", "--output", str(out)]
    done = CliRunner().invoke(end_to_end.main, options)
    assert done.exit_code == 0, done.output
    results = json.loads(out.read_text())
    for what in ("step", "iteration, per step"):
        found = results[f"tiny: {what}"]
        assert {"plain loop", "torchebm", "ebmkit", "ours", "ours, shards"} <= set(found)
        assert min(e["over_ours"] for name, e in found.items() if "ours" in name) == 1
    assert results["environment"]["torch"] == torch.__version__
