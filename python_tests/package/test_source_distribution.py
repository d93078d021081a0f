"""What a source distribution holds, by the list that it is made from; nothing is packed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The list is asked of setuptools without setup.py, which would add the sources of the extensions
# by itself: MANIFEST.in has to name them, the headers too.
LIST = """
import sys, setuptools
sys.argv = ["setup.py", "-q", "egg_info", "--egg-base", {folder!r}]
setuptools.setup()
"""


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("list")
    command = [sys.executable, "-c", LIST.format(folder=str(folder))]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return set((folder / "effebm_ext.egg-info" / "SOURCES.txt").read_text().split("\n"))


def test_every_source_of_the_kernels_is_listed(listed):
    sources = [
        p for p in (ROOT / "csrc").rglob("*") if p.is_file() and "__pycache__" not in p.parts
    ]
    missing = {path.relative_to(ROOT).as_posix() for path in sources} - listed
    assert len(sources) > 100
    assert missing == set()


def test_what_setup_and_cmake_read_is_listed(listed):
    read = set()
    for name in ("setup.py", "CMakeLists.txt", "Makefile"):
        words = re.findall(r"[\w./]+", (ROOT / name).read_text())
        made = (".", "/", "build/")  # by a build that ran here before
        read |= {w for w in words if (ROOT / w).is_file() and not w.startswith(made)}
    assert {"effebm_ext/source_digest.py", "tools/compile_objects.py", "tools/smoke_test.py"} < read
    assert read - listed == set()


def test_files_of_the_repository_are_listed(listed):
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone of the repository")
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = {name for name in done.stdout.splitlines() if (ROOT / name).exists()}
    assert "LICENSE" in tracked
    assert tracked - listed == set()


def test_nothing_compiled_is_listed(listed):
    assert [name for name in listed if name.endswith((".so", ".pyc", ".o"))] == []
    assert [name for name in listed if name.startswith(("build/", ".venv/"))] == []
