"""benchmarks/drop_in.py: what it times, and what it reports."""

import json
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers import normal

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import drop_in


def test_both_sides_of_a_case_make_the_same_steps(monkeypatch):
    x, gradient = normal(4, 3), normal(4, 3, seed=1)
    monkeypatch.setitem(drop_in.igebm.SETTING, "noise_std", 0.0)
    monkeypatch.setitem(drop_in.jem.SETTING, "noise_std", 0.0)
    given = drop_in.with_gradient(gradient)
    by_hand, ours = (work() for work in drop_in.igebm_pair(x, given))
    torch.testing.assert_close(ours, by_hand)
    assert not torch.equal(ours, x)
    # A given gradient stands for the score by hand, and for that of the energy here.
    by_hand, ours = (work() for work in drop_in.jem_pair(x, lambda x: given(x)[:, None]))
    torch.testing.assert_close(by_hand, x + drop_in.STEPS * gradient)
    torch.testing.assert_close(ours, x - drop_in.STEPS * gradient)


def test_the_ratio_is_over_ours(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(drop_in.time, "process_time", lambda: clock[0])

    def work(seconds):
        def take():
            clock[0] += next(seconds)

        return take

    original, ours = work(iter([9.0, 3.0, 4.0, 8.0])), work(iter([9.0, 1.0, 2.0, 1.0]))
    found = drop_in.measure(original, ours, rounds=3)
    assert found["ratio"] == pytest.approx(4)
    assert found["ratio_of_quickest"] == pytest.approx(3)
    assert found["ours_ms"] == pytest.approx(1e3 / drop_in.STEPS)


def test_a_run_times_every_case_and_writes_json(tmp_path):
    arguments = ["--shape", "4x8", "--rounds", "1", "--out", str(tmp_path)]
    done = CliRunner().invoke(drop_in.main, arguments, catch_exceptions=False)
    results = json.loads((tmp_path / "drop_in.json").read_text())["results"]
    own = {f"{name}, gradient given" for name in ("igebm", "jem", "functional")}
    own |= {"igebm, its network", "jem, its network"}
    own |= {"functional, Gaussian of 64", "functional, Gaussian of 2"}
    others = {"torchebm": "torchebm", "ebm": "ebmkit"}
    found = {name for package, name in others.items() if drop_in.installed(package)}
    assert set(results) == own | {f"{name}, gradient given" for name in found}
    assert all(f"{name:<28}" in done.output for name in results)
