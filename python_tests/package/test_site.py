"""An installation in an unusual place, and one whose kernels this Python or torch cannot load."""

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
import torch

import effebm_ext
from effebm_ext import _C, extension

MODULE = f"_C{EXTENSION_SUFFIXES[0]}"
USE = """
import torch, effebm_ext as eff
from effebm_ext import _C
print(eff.langevin_step(torch.zeros(2, 3), torch.ones(2, 3), 0.1, noise_std=0, rng=eff.Key(0)))
print(eff.__file__, _C.__file__, sep="\\n")
"""


def files(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def package(monkeypatch, tmp_path):
    """An empty folder in which the library looks for its modules, and nowhere else."""
    monkeypatch.setattr(extension, "_PACKAGE", tmp_path)
    monkeypatch.setattr(extension, "_MODULES", tmp_path)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "effebm_ext._C")
    return tmp_path


def test_a_read_only_folder_with_a_space_serves(tmp_path):
    site = tmp_path / "site packages"
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(Path(effebm_ext.__file__).parent, site / "effebm_ext", ignore=ignored)
    shutil.copy(_C.__file__, site / "effebm_ext" / MODULE)
    for path in (site, *site.rglob("*")):
        path.chmod(0o555)
    before = files(site)
    # Root may write everywhere. So Python is asked to write no bytecode, as it cannot for others,
    # and whatever else is written is found.
    variables = {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=tmp_path,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    for path in (site, *(p for p in site.rglob("*") if p.is_dir())):
        path.chmod(0o755)  # else nobody but root could remove them
    assert done.returncode == 0, done.stderr
    *_, python_file, module = done.stdout.splitlines()
    assert python_file == str(site / "effebm_ext" / "__init__.py")
    assert module == str(site / "effebm_ext" / MODULE)
    assert "-0.0500" in done.stdout
    assert files(site) == before


def test_kernels_that_are_missing_are_to_be_built(package):
    with pytest.raises(ImportError) as error:
        extension._find_modules()
    said = f"effebm_ext in {package} is not built: pip install . in the source folder"
    assert str(error.value) == said


def test_kernels_of_another_python_are_named(package):
    names = ["_C.cpython-39-x86_64-linux-gnu.so", "_C.cpython-399-aarch64-linux-gnu.so"]
    for name in (*names, "_C.pyi"):
        (package / name).touch()
    with pytest.raises(ImportError) as error:
        extension._find_modules()
    assert str(error.value) == (
        f"effebm_ext in {package} is of another Python or machine: it has {', '.join(names)}, "
        f"and this Python takes {MODULE}: install effebm_ext by this Python"
    )


@pytest.mark.parametrize("kind", ["a torch that lacks a function", "a file that is no library"])
def test_kernels_that_do_not_load_say_what_to_do(package, kind):
    module = package / MODULE
    if kind == "a file that is no library":
        module.write_text("this is no library")
        reason = MODULE
    else:
        source = "void missing_in_torch(); void* PyInit__C() { missing_in_torch(); return 0; }"
        compiler = shutil.which("cc") or pytest.skip("there is no C compiler")
        command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(module)]
        if sys.platform != "linux":
            pytest.skip("other linkers refuse functions that are missing")
        subprocess.run(command, input=source, text=True, check=True, capture_output=True)
        reason = "undefined symbol: missing_in_torch"
    with pytest.raises(ImportError) as error:
        extension._load_core()
    begin = f"the kernels of effebm_ext in {package} do not load with torch {torch.__version__} ("
    end = (
        f"): effebm_ext needs torch {extension.OLDEST_TORCH} or newer; if this torch is one, "
        "install effebm_ext again"
    )
    assert str(error.value).startswith(begin)
    assert reason in str(error.value)
    assert str(error.value).endswith(end)
