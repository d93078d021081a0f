"""What compression saves beside what it costs, from results that are kept."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.worth import __main__ as worth


def test_costs_are_paired_by_seeds():
    runs = {"none": {0: 30.0, 1: 40.0, 2: 35.0}, "short": {0: 30.5, 1: 40.5}, "long": {2: 35.0}}
    place = worth.Place("x", "none", {arm: 1.0 for arm in runs}, runs)
    cost = place.cost("short")
    assert (cost.value, cost.error) == (0.5, 0.0)
    assert place.cost("none") is None
    assert place.cost("long") is None  # one seed has no error


def test_an_arm_of_one_seed_is_not_drawn():
    runs = {"none": {0: 30.0, 1: 40.0}, "short": {0: 30.5, 1: 40.5}, "long": {1: 35.0}}
    place = worth.Place("x", "none", {arm: 1.0 for arm in runs}, runs)
    (axes,) = worth.plot([place]).axes
    assert axes.get_legend_handles_labels()[1] == ["none", "short"]


def test_kept_steps_of_pictures_have_their_own_bytes():
    """docs/mnist.md has these figures."""
    place = worth.kept_steps_of_pictures()
    assert place.bytes["Block-Sign 64 + feedback"] == 152 / 784
    assert place.cost("Block-Sign 64 + feedback").value == pytest.approx(-0.85, abs=0.005)
    assert "clip 10" not in place.runs
    resting = worth.buffers_of_pictures()
    assert resting.bytes["buffer, all that saves"] == 2


def test_diverged_runs_do_not_count():
    ends = {"arm": "a", "forward": 1.0, "reverse": 2.0}
    rows = [{**ends, "seed": 0, "diverged": None}, {"arm": "a", "seed": 1, "diverged": "lost"}]
    assert list(worth.by_arm(rows)["a"]) == [0]


def test_feedback_is_judged_by_samples_half_way():
    """docs/digits.md has these figures."""
    place = worth.kept_steps()
    costs = {arm: place.cost(arm).value for arm in place.runs if arm != "none"}
    assert costs["Top-k + feedback"] == pytest.approx(0.22, abs=0.005)
    assert costs["Block-Sign + feedback, averaged noise"] == pytest.approx(0.07, abs=0.005)
    assert costs["Top-k"] > 50
    assert place.bytes["Block-Sign"] == place.bytes["Block-Sign + feedback"] == 12 / 64


def test_the_best_learning_rate_of_a_hook_counts(tmp_path, monkeypatch):
    rows = [
        {
            "hook": hook,
            "learning_rate": rate,
            "seed": seed,
            "cross_entropy": nats + seed,
            "payload": n,
        }
        for hook, n, scores in (("dense", 400, {1: 5.0, 2: 3.0}), ("sign", 20, {1: 9.0, 2: 3.5}))
        for rate, nats in scores.items()
        for seed in (0, 1)
    ]
    (tmp_path / "distributed").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "distributed" / "runs.jsonl").write_text(text)
    monkeypatch.setattr(worth, "RESULTS", tmp_path)
    place = worth.messages()
    assert place.runs == {"dense": {0: 3.0, 1: 4.0}, "sign": {0: 3.5, 1: 4.5}}
    assert place.bytes == {"dense": 4.0, "sign": 0.2}
    assert place.cost("sign").value == 0.5


def test_the_table_and_the_plot_have_every_place(tmp_path):
    done = CliRunner().invoke(worth.main, ["--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    for make in worth.PLACES:
        assert make().title in done.output
    assert (tmp_path / "worth.png").stat().st_size > 10_000
