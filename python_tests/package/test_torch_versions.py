"""What tools/torch_versions.py makes of the tests that it runs under another torch."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "torch_versions.py"))
MIXED = """
import pytest
def test_one(): pass
def test_two(): pass
def test_three(): assert False
def test_four(broken): pass
@pytest.mark.skip
def test_five(): pass
@pytest.fixture
def broken(): raise ValueError
"""
ENDED = """
import os
def test_one(): pass
def test_two(): os._exit(0)
"""


@pytest.mark.parametrize(
    ("content", "want"),
    [
        (MIXED, {"passed": 2, "failed": 1, "error": 1, "skipped": 1}),
        (ENDED, {"crashed": 1}),
        ("", {}),
    ],
    ids=["mixed", "ended", "empty"],
)
def test_what_became_of_a_file_is_counted(tmp_path, content, want):
    path = tmp_path / "test_it.py"
    path.write_text(content)
    counts, printed = TOOL["run"](Path(sys.executable), path)
    assert counts == want
    assert ("test_it.py crashed: exit status 0" in printed) == ("crashed" in want)


def test_the_tests_of_the_ops_run_and_those_of_runs_do_not():
    names = {path.name for path in TOOL["files"]()}
    for stem in ("topk", "langevin_step", "contract", "rng", "samplers", "compile"):
        assert f"test_{stem}.py" in names
    for folder in TOOL["LEFT_OUT"]:
        left_out = list((ROOT / "python_tests" / folder).glob("test_*.py"))
        assert left_out, folder
        assert not names & {path.name for path in left_out}
