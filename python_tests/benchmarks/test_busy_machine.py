"""The benchmark of training beside other processes does what it says."""

import sys
from pathlib import Path

from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import busy_machine


def test_neighbours_are_busy_and_end(monkeypatch):
    started = []
    popen = busy_machine.subprocess.Popen
    monkeypatch.setattr(
        busy_machine.subprocess,
        "Popen",
        lambda *a, **k: started.append(popen(*a, **k)) or started[-1],
    )
    with busy_machine.neighbours(2):
        assert [process.poll() for process in started] == [None, None]
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


def test_every_way_runs_in_turn_with_its_environment(monkeypatch):
    seen = []

    def seconds(iterations, environment):
        seen.append((iterations, environment))
        return float(len(seen))

    monkeypatch.setattr(busy_machine, "seconds", seconds)
    flags = ["--runs", "3", "--iterations", "7", "--beside", "0", "--spin-counts", "50"]
    done = CliRunner().invoke(busy_machine.main, flags)
    assert done.exit_code == 0
    two = {"OMP_NUM_THREADS": "2"}
    ways = [two, {**two, "GOMP_SPINCOUNT": "50"}, {**two, "OMP_WAIT_POLICY": "passive"},
            {"OMP_NUM_THREADS": "1"}]  # fmt: skip
    assert seen == [(7, way) for way in ways * 3]
    assert "beside 0: default         5.00 s (1.00 to 9.00)" in done.output
    assert "beside 0: one thread      8.00 s (4.00 to 12.00)" in done.output


def test_a_run_tells_its_own_time():
    assert 0 < busy_machine.seconds(1, {"OMP_NUM_THREADS": "1"}) < 600
