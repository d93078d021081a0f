"""What the package says of itself: one version, its licence, the wheels that are built."""

import fnmatch
import itertools
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from setuptools.config.pyprojecttoml import read_configuration

import effebm_ext as eff
from effebm_ext import _C, extension

ROOT = Path(__file__).parents[2]
RAW = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = RAW["project"]
WHEELS = RAW["tool"]["cibuildwheel"]
# What manylinux promises of every Linux, as far as a C++ module of ours asks for it.
OF_LINUX = (
    *("libc.so.*", "libm.so.*", "libgcc_s.so.*", "libstdc++.so.*", "libpthread.so.*"),
    *("libdl.so.*", "librt.so.*", "ld-linux-*"),
)


def pythons_of_the_classifiers():
    begin = "Programming Language :: Python :: 3."
    return {int(c.removeprefix(begin)) for c in PROJECT["classifiers"] if c.startswith(begin)}


def test_all_files_tell_one_version():
    read = read_configuration(ROOT / "pyproject.toml", expand=True)["project"]["version"]
    assert read == eff.__version__
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [eff.__version__]
    first = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first is not None
    assert first[1] == eff.__version__


def test_all_files_tell_one_licence():
    assert PROJECT["license"] == "MIT"
    assert PROJECT["license-files"] == ["LICENSE"]
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n")
    assert "\nlicense: MIT\n" in (ROOT / "CITATION.cff").read_text()


def test_all_files_tell_one_oldest_torch():
    oldest = extension.OLDEST_TORCH
    assert _C.build_info()["torch_target"] == oldest
    assert f"torch>={oldest}" in PROJECT["dependencies"]
    assert f"torch=={oldest}.0" in WHEELS["before-test"].split()
    assert f"torch=={oldest}.0" in (ROOT / "Makefile").read_text()


def test_the_build_has_the_torch_of_the_makefile():
    (build,) = [name for name in RAW["build-system"]["requires"] if name.startswith("torch")]
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^WHEEL_TORCH := (\S+)$", makefile, re.MULTILINE)[1] == build


def test_wheels_are_built_for_the_pythons_of_the_classifiers():
    built = {int(m) for m in re.findall(r"cp3(\d+)-\*", WHEELS["build"])}
    assert built == pythons_of_the_classifiers()
    assert PROJECT["requires-python"] == f">=3.{min(built)}"
    assert "*-musllinux_*" in WHEELS["skip"].split()


def test_wheels_are_tried_by_the_smoke_test():
    python, script = shlex.split(WHEELS["test-command"])
    assert python == "python"
    assert Path(script.format(project=ROOT)).is_file()


def test_the_repair_leaves_out_libraries_of_torch_only():
    """Everything that the module links is either of torch, and left out, or of every Linux."""
    if shutil.which("readelf") is None:
        pytest.skip("there is no readelf")
    words = shlex.split(WHEELS["linux"]["repair-wheel-command"])
    excluded = [pattern for word, pattern in itertools.pairwise(words) if word == "--exclude"]
    for module in Path(_C.__file__).parent.glob("_C*.so"):
        command = ["readelf", "-d", str(module)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        needed = re.findall(r"\(NEEDED\).*\[(.+)\]", printed)
        of_torch = {n for n in needed for p in excluded if fnmatch.fnmatch(n, p)}
        assert "libtorch_cpu.so" in of_torch
        of_linux = {n for n in needed for p in OF_LINUX if fnmatch.fnmatch(n, p)}
        assert set(needed) == of_torch | of_linux
        assert not of_torch & of_linux


def test_the_smoke_test_fails_with_one_line(monkeypatch, capsys):
    tool = runpy.run_path(str(ROOT / "tools" / "smoke_test.py"))
    reference = tool["check_ops"].__globals__["langevin_step_reference"]

    def other_bits(x, *arguments, **options):
        state, residual = reference(x, *arguments, **options)
        return state + 1, residual

    names = tool["main"].__globals__
    monkeypatch.setitem(names, "check_installation", lambda: "")
    monkeypatch.setitem(names, "check_info", lambda folder: "")
    monkeypatch.setitem(names, "check_training", lambda folder: "")
    assert tool["main"]() == 0
    assert capsys.readouterr().out.endswith("smoke test: passed\n")
    monkeypatch.setitem(names, "langevin_step_reference", other_bits)
    assert tool["main"]() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("smoke test: FAILED: langevin_step_ with TopK(")
    assert line.endswith("the state differs from the reference")


def test_the_smoke_test_asks_for_the_installed_package(monkeypatch):
    tool = runpy.run_path(str(ROOT / "tools" / "smoke_test.py"))
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    with pytest.raises(tool["Failure"], match="not of the environment /nowhere"):
        tool["check_installation"]()
