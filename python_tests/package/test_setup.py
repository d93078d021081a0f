"""What setup.py says of a build: why there are no CUDA kernels, which compiler does not do."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import setuptools
import torch
from torch._subclasses import FakeTensorMode

import effebm_ext as eff
from effebm_ext import _C, extension
from effebm_ext.source_digest import source_digest

ROOT = Path(__file__).parents[2]


def script(path, *lines):
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


@pytest.fixture
def last_line(monkeypatch, capsys, tmp_path):
    """The last line of a build under these variables; torch.version.cuda is told, nothing built."""

    def run(cuda, **variables):
        for name in ("EFFEBM_CPU_ONLY", "FORCE_CUDA"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("CUDA_HOME", str(tmp_path))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(
            setuptools, "setup", lambda **_: SimpleNamespace(have_run={"build_ext": True})
        )
        capsys.readouterr()
        runpy.run_path("setup.py")
        return capsys.readouterr().out.strip()

    return run


def test_a_build_without_cuda_says_why(last_line):
    left_out = "effebm_ext: CUDA kernels: left out: "
    for cuda, forced in [("13.0", "0"), (None, "1")]:
        line = last_line(cuda, EFFEBM_CPU_ONLY="1", FORCE_CUDA=forced)
        assert line == left_out + "EFFEBM_CPU_ONLY=1 was set"
    assert last_line(None) == (
        f"{left_out}torch {torch.__version__} of the build has no CUDA "
        "(if the build was isolated, use --no-build-isolation)"
    )
    missing = "nvcc was not found; set CUDA_HOME or the path"
    assert last_line("13.0") == left_out + missing
    with pytest.raises(SystemExit, match=f"FORCE_CUDA=1: {missing}"):
        last_line(None, FORCE_CUDA="1")


def test_a_build_with_cuda_says_nothing(last_line, tmp_path):
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "nvcc", f'echo "#$ TOP={tmp_path}" >&2')
    assert last_line("13.0") == ""
    assert last_line(None, FORCE_CUDA="1") == ""


def test_the_module_records_its_build():
    record = _C.build_info()
    assert record["torch"].startswith("2.")
    # Another digest: the module here is older than the sources; build it again.
    assert record["sources"] == source_digest(ROOT)
    assert bool(record["no_cuda"]) == ("no CUDA kernels" in extension.cuda_missing)


def test_a_user_is_told_why_there_are_no_cuda_kernels(monkeypatch, effebm):
    record = {**_C.build_info(), "no_cuda": "nobody wanted them"}
    monkeypatch.setattr(_C, "build_info", lambda: record)
    monkeypatch.setattr(extension, "cuda_missing", extension._load_cuda())
    with FakeTensorMode(), pytest.raises(RuntimeError) as error:
        eff.topk_compress(torch.empty(2, 3, device="cuda"), 1)
    assert "this build of effebm_ext has no CUDA kernels: nobody wanted them." in str(error.value)
    assert "CUDA kernels:   left out: nobody wanted them\n" in effebm("info")[1]


def test_kernels_that_do_not_load_say_why(monkeypatch):
    def load(name):
        raise ImportError("libtorch_cuda.so: no such file")

    monkeypatch.setattr(_C, "build_info", lambda: {"no_cuda": ""})
    monkeypatch.setattr(extension, "_load", load)
    assert "do not load with this torch (libtorch_cuda.so: no such" in extension._load_cuda()


NEEDED = "effebm_ext needs a C++20 compiler, GCC 11 or newer (CXX names it): "
UNKNOWN = "g++: error: unrecognized command line option '-std=c++20'"


def build(folder, variables):
    """Runs a build that ends with an error; returns what it says."""
    folders = ["--build-lib", folder / "lib", "--build-temp", folder / "temp"]
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", *folders],
        cwd=ROOT,
        env={**variables, "EFFEBM_CPU_ONLY": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert not list(folder.rglob("*.o"))
    return done.stderr


@pytest.mark.parametrize(
    ("compiler", "begin", "end"),
    [
        ("{folder}/none", "{folder}/none was not", " found"),
        ("{folder}/g++-7", "{folder}/g++-7 is g++ (GCC) 7.5.0; ", UNKNOWN),
        ("g++ -U__GNUC__ -D__GNUC__=10", "g++ -U__GNUC__ -D__GNUC__=10 is ", 'older than GCC 11"'),
    ],
    ids=["none", "GCC 7", "GCC 10"],
)
def test_a_build_ends_with_a_line_on_the_compiler(tmp_path, compiler, begin, end):
    version = '[ "$1" = --version ] && echo "g++ (GCC) 7.5.0" && exit 0'
    script(tmp_path / "g++-7", version, f'echo "{UNKNOWN}" >&2', "exit 1")
    variables = {**os.environ, "CXX": compiler.format(folder=tmp_path)}
    last = build(tmp_path, variables).splitlines()[-1]
    assert last.startswith(NEEDED + begin.format(folder=tmp_path))
    assert last.endswith(end)


def test_a_machine_without_a_compiler_is_told_so(tmp_path):
    variables = {name: value for name, value in os.environ.items() if name != "CXX"}
    said = build(tmp_path, {**variables, "PATH": str(tmp_path)})
    assert said.splitlines()[-1] == f"{NEEDED}c++ was not found"
    assert "Traceback" not in said
