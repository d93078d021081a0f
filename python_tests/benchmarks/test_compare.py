"""Times of a run of the kernel benchmark beside those of an earlier one."""

import json
import subprocess
import sys
from pathlib import Path

COMPARE = Path(__file__).parents[2] / "benchmarks" / "compare.py"


def saved(path, *cases):
    """What kernels.py leaves, as far as it is read: op, then microseconds of arms."""
    results = [
        {"op": op, "shape": "8x64", "dtype": "float32", "threads": 1,
         "arms": {name: {"us_per_call": us} if us else {"missing": "no"} for name, us in arms}}
        for op, *arms in cases
    ]  # fmt: skip
    path.write_text(json.dumps({"results": results}))
    return str(path)


def compare(*paths):
    command = [sys.executable, str(COMPARE), *paths]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, [line.split() for line in done.stdout.splitlines()[1:]], done.stderr


def test_every_case_of_both_runs_has_a_line(tmp_path):
    now = saved(
        tmp_path / "now",
        ("plain", ("ours", 200.0), ("axpy", 190.0)),
        ("topk:0.1", ("ours", None), ("axpy", 190.0)),
        ("natural", ("ours", 400.0)),
    )
    before = saved(
        tmp_path / "before",
        ("plain", ("ours", 300.0), ("axpy", 180.0)),
        ("topk:0.1", ("ours", 900.0), ("axpy", 180.0)),
        ("block-sign:64", ("ours", 360.0), ("axpy", 180.0)),
    )
    rc, lines, _ = compare(now, before)
    assert rc == 0
    about = ["8x64", "float32"]
    assert lines == [
        ["plain", *about, "200.0", "300.0", "1.50", "95.0%", "60.0%"],
        ["topk:0.1", *about, "-", "900.0", "-", "-", "20.0%"],
        ["natural", *about, "400.0", "-", "-", "-", "-"],
        ["block-sign:64", *about, "-", "360.0", "-", "-", "50.0%"],
    ]
    rc, lines, _ = compare(now)
    assert rc == 0
    assert lines[0] == ["plain", *about, "200.0", "-", "-", "95.0%", "-"]


def test_no_file_is_a_mistake():
    rc, _, error = compare()
    assert rc == 1
    assert error.startswith("usage: compare.py NOW [BEFORE]")
