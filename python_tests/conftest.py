"""Runs the tests of an op on every set of kernels there is."""

import math
import sys

import native
import numpy as np
import pytest
import stand_in
import torch

from effebm_ext import extension

# What torch.compile keeps on disk is not told apart by the schemas of the ops.
torch._inductor.config.force_disable_caches = True

HAS_GPU = not extension.cuda_missing and torch.cuda.is_available()


@pytest.fixture
def effebm(monkeypatch, capsys):
    """Runs the command line, or interrupts it after some iterations as by Ctrl-C; (exit status,
    standard output, standard error)."""
    from effebm_ext.runs.command_line import bars, cli  # tests of the ops need nothing of them

    monkeypatch.setattr(bars, "_DELAY", math.inf)  # a slow machine would show bars in any test

    def run(*arguments, stop_after=None):
        seen = []

        def update(bar, n=1):
            seen.append(bar)
            if len(seen) == stop_after:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["effebm", *map(str, arguments)])
            if stop_after is not None:
                patch.setattr(cli.tqdm, "update", update)
            try:
                cli.main()
                status = 0
            except SystemExit as stop:
                status = stop.code
        printed, errors = capsys.readouterr()
        told.append(f"{' '.join(map(str, arguments))}\nexit status {status}\n{errors}")
        return status, printed, errors

    told: list[str] = []
    yield run
    shown = "\n".join(told).encode(errors="backslashreplace").decode()  # names may be no text
    print(shown)  # pytest shows it of a test that failed


@pytest.fixture
def without_cuda_kernels(monkeypatch):
    """As in a build without them."""
    message = "this build of effebm_ext has no CUDA kernels"
    monkeypatch.setattr(extension, "cuda_missing", message)


@pytest.fixture(scope="module", params=["cpu", "emulated cuda", *["cuda"] * HAS_GPU])
def kernels(request):
    """Which kernels the module's tests run on: those of the CPU, the CUDA kernels under the
    emulator, which take the place of the CPU's, or a GPU's. Equal results are asked of all three
    by the same lines."""
    if request.param != "emulated cuda":
        yield request.param
        return
    if not native.LIBRARY.exists():
        pytest.skip(
            f"the emulated CUDA kernels are not built: make test-library ({native.LIBRARY})"
        )
    with native.emulated_kernels():
        yield request.param
    assert np.longdouble(7) / 2 == 3.5, "a kernel has left MMX registers in use: x87 gives NaN"


@pytest.fixture(scope="module")
def device(kernels):
    """The device under test. A test makes its tensors there, also generators, and brings results
    back with ``.cpu()`` to compare them with what was computed on the CPU. For the CUDA kernels
    under the emulator it is a stand-in for a GPU."""
    if kernels != "emulated cuda":
        yield torch.device("cpu") if kernels == "cpu" else torch.device("cuda", 0)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extension, "cuda_missing", "")
        yield stand_in.DEVICE


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """Tests of a device make their tensors there. The stand-in for a GPU is on while one runs."""
    fixtures = pyfuncitem.funcargs
    if fixtures.get("kernels") == "cuda" and "device" not in fixtures:
        pytest.fail("a test of a GPU has to make its tensors on the fixture `device`")
    if fixtures.get("device") != stand_in.DEVICE:
        return (yield)
    with stand_in.StandIn() as mode:
        result = yield
    assert mode.used, "the test has made no tensor on the fixture `device`"
    return result
