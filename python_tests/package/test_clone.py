"""A clone after a plain ``pip install .``: only the installed package has the compiled modules."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import effebm_ext
from effebm_ext import _C
from effebm_ext.source_digest import source_digest

ROOT = Path(__file__).parents[2]
USE = """
import torch, effebm_ext as eff
from effebm_ext import _C
print(eff.topk_compress(torch.tensor([[1.0, -2.0]]), 1).tolist(), eff.__file__, _C.__file__)
"""
TEST = """
def test_that_the_clone_is_tested():
    import torch, effebm_ext as eff
    assert eff.__file__.startswith({clone!r})
    assert eff.topk_compress(torch.tensor([[1.0, -2.0]]), 1).tolist() == [[0, -2]]
"""


@pytest.fixture
def clone(tmp_path):
    """The Python files and the sources, without compiled modules; the package is in site/."""
    source = Path(effebm_ext.__file__).parent
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(source, tmp_path / "clone" / "effebm_ext", ignore=ignored)
    shutil.copytree(ROOT / "csrc", tmp_path / "clone" / "csrc", ignore=ignored)
    shutil.copy(ROOT / "setup.py", tmp_path / "clone")
    shutil.copytree(source, tmp_path / "site" / "effebm_ext", ignore=ignored)
    for module in Path(_C.__file__).parent.glob("_C*.so"):
        shutil.copy(module, tmp_path / "site" / "effebm_ext")
    return tmp_path / "clone"


def run(clone, *arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(clone.parent / "site")},
        capture_output=True,
        text=True,
    )


def test_every_way_into_python_works_in_the_clone(clone):
    (clone / "script.py").write_text(USE)
    (clone / "test_it.py").write_text(TEST.format(clone=str(clone)))
    for arguments in (["-c", USE], ["script.py"]):
        done = run(clone, *arguments)
        assert done.returncode == 0, done.stderr
        result, package, module = done.stdout.rsplit(maxsplit=2)
        assert result == "[[0.0, -2.0]]"
        assert package == str(clone / "effebm_ext" / "__init__.py")
        assert module == str(clone.parent / "site" / "effebm_ext" / Path(_C.__file__).name)
    done = run(clone, "-m", "effebm_ext", "info")
    assert done.returncode == 0, done.stderr
    assert f"kernels:        {clone.parent / 'site' / 'effebm_ext'}\n" in done.stdout
    done = run(clone, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_python_files_of_the_two_are_not_mixed(clone):
    (clone.parent / "site" / "effebm_ext" / "gone.py").touch()
    done = run(clone, "-c", "import effebm_ext.gone")
    assert "No module named 'effebm_ext.gone'" in done.stderr


def test_other_sources_than_the_installed_are_refused(clone):
    with (clone / "setup.py").open("a") as file:
        file.write("\n")
    done = run(clone, "-c", USE)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: effebm_ext in {clone.parent / 'site' / 'effebm_ext'} was not built from the "
        f"sources in {clone}: pip install . there, or leave that folder"
    )


def test_the_digest_depends_on_every_source(clone):
    before = source_digest(clone)
    assert before == source_digest(ROOT)
    (clone / "csrc" / "tests" / "new_test.cpp").touch()  # of which no module is built
    assert source_digest(clone) == before
    for name in ("setup.py", "csrc/sources.txt", "csrc/core/philox.h", "csrc/cuda/compress.cu"):
        text = (clone / name).read_text()
        (clone / name).write_text(text + "\n")
        assert source_digest(clone) != before
        (clone / name).write_text(text)
    (clone / "csrc" / "new.h").touch()
    assert source_digest(clone) != before


def test_a_clone_without_an_installation_says_so(clone):
    shutil.rmtree(clone.parent / "site")
    hide = "import sys, torch, numpy; sys.path[1:] = []; import effebm_ext"
    done = run(clone, "-c", hide)
    assert done.returncode == 1
    package = clone / "effebm_ext"
    said = f"ImportError: effebm_ext in {package} is not built: pip install . in the source folder"
    assert done.stderr.splitlines()[-1] == said
