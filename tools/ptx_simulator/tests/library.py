"""The library's CUDA kernels as nvcc compiles them, and the host code's names for them."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import native
import pytest
import torch
from ptx_simulator import Kernel, compile_ptx, find_nvcc, load

from effebm_ext.source_digest import source_digest

ROOT = Path(__file__).resolve().parents[3]
CUDA = ROOT / "csrc" / "cuda"
PTX = ROOT / "build" / "ptx"
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@functools.cache
def kernels() -> dict[str, Kernel]:
    """Returns the kernels of all sources by their demangled names."""
    if find_nvcc() is None:
        pytest.skip("nvcc is not installed, so there is no PTX to simulate")
    modules = [load(path.read_text()) for path in sorted(_compiled().glob("*.ptx"))]
    return {kernel.demangled: kernel for module in modules for kernel in module.kernels.values()}


def _compiled() -> Path:
    """Returns the folder of the PTX of all sources. The first process of a test run makes it, since
    every process needs all of it and nvcc takes a minute."""
    folder = PTX / source_digest(ROOT)
    PTX.mkdir(parents=True, exist_ok=True)
    with (PTX / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            for earlier in filter(Path.is_dir, PTX.iterdir()):
                shutil.rmtree(earlier)
            unfinished = PTX / "unfinished"
            unfinished.mkdir()
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda source: _compile(source, unfinished), CUDA.glob("*.cu")))
            unfinished.rename(folder)
    return folder


def _compile(source: Path, folder: Path) -> None:
    # The namespace that the emulator's host code is compiled with: the names agree.
    text = compile_ptx(source, flags=["-DEFFEBM_ISA=emulated"])
    (folder / f"{source.stem}.ptx").write_text(text)


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
