"""The library's CUDA kernels as nvcc compiles them, and the host code's names for them."""

from __future__ import annotations

import ctypes
import functools
import subprocess
from pathlib import Path

import native
import pytest
import torch
from ptx_simulator import Kernel, compile_ptx, find_nvcc, load

CUDA = Path(__file__).resolve().parents[3] / "csrc" / "cuda"
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@functools.cache
def kernels() -> dict[str, Kernel]:
    """Returns the kernels of all sources by their demangled names."""
    if find_nvcc() is None:
        pytest.skip("nvcc is not installed, so there is no PTX to simulate")
    found = {}
    for source in sorted(CUDA.glob("*.cu")):
        # The namespace that the emulator's host code is compiled with: the names agree.
        module = load(compile_ptx(source, flags=["-DEFFEBM_ISA=emulated"]))
        found.update({kernel.demangled: kernel for kernel in module.kernels.values()})
    return found


@functools.cache
def names() -> dict[int, str]:
    """Returns the demangled names of the host code's functions by their addresses."""
    command = ["nm", "--defined-only", "--demangle", str(native.LIBRARY)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    symbols = [line.split(" ", 2) for line in listed.splitlines()]
    by_offset = {int(offset, 16): name for offset, _, name in symbols}
    known = "effebm_emulator_device"
    at = ctypes.cast(getattr(native.library(), known), ctypes.c_void_p).value
    base = next(at - offset for offset, name in by_offset.items() if at and name == known)
    return {base + offset: name for offset, name in by_offset.items()}
