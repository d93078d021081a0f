"""Runs the tests of an op on every set of kernels there is."""

import ctypes
import os
import sys
from pathlib import Path

import pytest
import torch

import effebm_ext as eff
from effebm_ext import _C, extension

# What torch.compile keeps on disk is not told apart by the schemas of the ops.
torch._inductor.config.force_disable_caches = True

_EMULATED = Path(
    os.environ.get(
        "EFFEBM_EMULATED_KERNELS",
        Path(__file__).parents[1] / "build" / "cmake" / "libeffebm_emulated.so",
    )
)
_OPS = (
    "topk_compress",
    "block_sign_compress",
    "drift",
    "langevin_step",
    "langevin_step_",
    "langevin_transition",
    "perturbed_pair",
)


HAS_GPU = not extension.cuda_missing and torch.cuda.is_available()


@pytest.fixture
def effebm(monkeypatch, capsys):
    """Runs the command line, or interrupts it after some iterations as by Ctrl-C; (exit status,
    standard output, standard error)."""
    from effebm_ext import cli  # of which the tests of the ops need nothing

    def run(*arguments, stop_after=None):
        seen = []

        def update(bar):
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
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def without_cuda_kernels(monkeypatch):
    """As in a build without them."""
    message = "this build of effebm_ext has no CUDA kernels"
    monkeypatch.setattr(extension, "cuda_missing", message)


@pytest.fixture(scope="module", params=["cpu", "emulated cuda", *["cuda"] * HAS_GPU])
def kernels(request):
    """The module's tests run on the CPU kernels, on the CUDA kernels under the emulator, and on a
    GPU: equal results are asked of all three by the same lines."""
    with {"cpu": _cpu, "emulated cuda": _emulated, "cuda": _cuda}[request.param]():
        yield request.param


class _cpu:
    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


class _emulated:
    """The CUDA kernels stand in for those of CPU tensors."""

    def __enter__(self):
        if not _EMULATED.exists():
            pytest.skip(f"the emulated CUDA kernels are not built: make test-cpp ({_EMULATED})")
        library = ctypes.CDLL(str(_EMULATED))
        library.effebm_emulated_kernels.restype = ctypes.c_void_p
        _C.use_cpu_kernels(library.effebm_emulated_kernels())

    def __exit__(self, *_):
        _C.use_cpu_kernels(0)


class _cuda:
    """The ops take their CPU tensors to a GPU and bring back what they wrote."""

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        for name in _OPS:
            self.patch.setattr(eff, name, _on_gpu(getattr(eff, name)))

    def __exit__(self, *_):
        self.patch.undo()


def _on_gpu(op):
    def run(*arguments, **options):
        moved = {}

        def move(value):
            if not isinstance(value, torch.Tensor):
                return value
            if id(value) not in moved:  # the same tensor twice stays the same tensor
                moved[id(value)] = (value, value.cuda())
            return moved[id(value)][1]

        named = {name: move(v) for name, v in options.items()}
        result = op(*map(move, arguments), **named)
        for here, there in moved.values():
            written = op.__name__.endswith("_") or there is named.get("residual")
            if written and not here.requires_grad:
                here.copy_(there)
            if result is there:
                return here
        if isinstance(result, tuple):
            return type(result)(*(t.cpu() for t in result))
        return result.cpu()

    return run
