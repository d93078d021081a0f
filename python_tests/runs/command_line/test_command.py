"""The command sets how threads wait, before torch is loaded; the library sets nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CHOICES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def run(*arguments, **environment):
    """A process that finds this folder's modules, and none of the variables but those given."""
    kept = {name: value for name, value in os.environ.items() if name not in CHOICES}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *arguments],
        env={**kept, "PYTHONPATH": path, **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip


def spin_count(**environment):
    """What libgomp says it has read."""
    done = run("-m", "effebm_command", "info", OMP_DISPLAY_ENV="verbose", **environment)
    assert "CPU kernels" in done.stdout
    found = re.search(r"GOMP_SPINCOUNT = '(\w+)'", done.stderr)
    assert found, f"no libgomp tells its settings: {done.stderr}"
    return found[1]


def test_the_command_lets_threads_spin_for_a_short_while():
    assert spin_count() == "1000"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "passive"}, "0")],
)
def test_what_the_user_has_chosen_stays(environment, expected):
    assert spin_count(**environment) == expected


def test_importing_the_library_changes_no_environment():
    code = (
        "import os; before = dict(os.environ); import effebm_command, effebm_ext; "
        "import effebm_ext.runs.command_line.cli, effebm_ext.training; "
        "assert dict(os.environ) == before"
    )
    run("-c", code)


def test_the_installed_command_is_this_one():
    project = (ROOT / "pyproject.toml").read_text()
    assert 'effebm = "effebm_command:main"' in project
    assert 'py-modules = ["effebm_command"]' in project
