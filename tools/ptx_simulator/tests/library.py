"""The library's CUDA kernels as nvcc compiles them, and their parameters."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from ptx_simulator import Module, compile_ptx, device_copy, find_nvcc, load
from torch import Tensor

CUDA = Path(__file__).resolve().parents[3] / "csrc" / "cuda"
THREADS = 256
DTYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.bfloat16: "effebm::baseline::core::bfloat16",
    torch.float16: "effebm::baseline::core::float16",
}
ROWS = 3
NAMESPACE = "effebm::baseline::cuda_kernels::"


class StepParams(ctypes.Structure):
    """LangevinStepParams of csrc/core/langevin_step.h, and what csrc/cuda/step_row.cuh adds."""

    _fields_ = (
        *[("dtype", ctypes.c_int), ("rows", ctypes.c_int64), ("dim", ctypes.c_int64)],
        *[(name, ctypes.c_uint64) for name in ("x", "out", "grad", "residual", "drift", "delta")],
        *[("row_sums_of", ctypes.c_int), ("row_sums", ctypes.c_uint64), ("key", ctypes.c_uint64)],
        *[("offset", ctypes.c_int64), ("first_chain", ctypes.c_int64)],
        *[("step_size", ctypes.c_double), ("step_sizes", ctypes.c_uint64)],
        *[("step_sizes_stride", ctypes.c_int64), ("has_noise_std", ctypes.c_bool)],
        *[("noise_std", ctypes.c_double), ("noise_stds", ctypes.c_uint64)],
        *[("noise_stds_stride", ctypes.c_int64), ("compressor", ctypes.c_int)],
        *[("compressor_size", ctypes.c_int64), ("block_offsets", ctypes.c_uint64)],
        *[("n_blocks", ctypes.c_int64), ("clip", ctypes.c_int)],
        *[("clip_limit", ctypes.c_double), ("bounds", ctypes.c_int)],
        *[("lower", ctypes.c_double), ("upper", ctypes.c_double)],
        *[("norm_scales", ctypes.c_uint64), ("group_sums", ctypes.c_uint64)],
    )


class Blocks(ctypes.Structure):
    """Blocks of csrc/core/block_sign.h."""

    _fields_ = (
        *[("dim", ctypes.c_int64), ("size", ctypes.c_int64)],
        *[("offsets", ctypes.c_uint64), ("count", ctypes.c_int64)],
    )


class TopkParams(ctypes.Structure):
    """TopkParams of csrc/core/topk.h."""

    _fields_ = (
        *[("dtype", ctypes.c_int), ("rows", ctypes.c_int64), ("dim", ctypes.c_int64)],
        *[("k", ctypes.c_int64), ("x", ctypes.c_uint64), ("out", ctypes.c_uint64)],
    )


class BlockSignParams(ctypes.Structure):
    """BlockSignParams of csrc/core/block_sign.h."""

    _fields_ = (
        *[("dtype", ctypes.c_int), ("rows", ctypes.c_int64), ("dim", ctypes.c_int64)],
        *[("block_size", ctypes.c_int64), ("block_offsets", ctypes.c_uint64)],
        *[("n_blocks", ctypes.c_int64), ("x", ctypes.c_uint64), ("out", ctypes.c_uint64)],
    )


class SignsParams(ctypes.Structure):
    """SignsParams of csrc/core/packing.h."""

    _fields_ = (
        *[("dtype", ctypes.c_int), ("rows", ctypes.c_int64), ("dim", ctypes.c_int64)],
        *[("block_size", ctypes.c_int64), ("block_offsets", ctypes.c_uint64)],
        *[("n_blocks", ctypes.c_int64), ("c", ctypes.c_uint64), ("signs", ctypes.c_uint64)],
        *[(name, ctypes.c_uint64) for name in ("zeros", "scales", "flags")],
    )


class EntriesParams(ctypes.Structure):
    """EntriesParams of csrc/core/packing.h."""

    _fields_ = (
        *[("dtype", ctypes.c_int), ("rows", ctypes.c_int64), ("dim", ctypes.c_int64)],
        *[("k", ctypes.c_int64), ("c", ctypes.c_uint64)],
        *[(name, ctypes.c_uint64) for name in ("values", "indices", "flags")],
    )


class PerturbParams(ctypes.Structure):
    """PerturbParams of csrc/core/perturb.h."""

    _fields_ = (
        *[("dtype", ctypes.c_int), ("rows", ctypes.c_int64), ("dim", ctypes.c_int64)],
        *[(name, ctypes.c_uint64) for name in ("x", "out", "noise_dot", "key")],
        *[("offset", ctypes.c_int64), ("first_chain", ctypes.c_int64)],
        *[("radius", ctypes.c_double), ("radii", ctypes.c_uint64)],
        *[("radii_stride", ctypes.c_int64), ("noise_std", ctypes.c_double)],
        *[("noise_stds", ctypes.c_uint64), ("noise_stds_stride", ctypes.c_int64)],
    )


@functools.cache
def compiled(name: str) -> Module:
    if find_nvcc() is None:
        pytest.skip("nvcc is not installed, so there is no PTX to simulate")
    return load(compile_ptx(CUDA / f"{name}.cu"))


def resident_row(row: str) -> str:
    """The type of a row that stays in shared memory."""
    return f"Resident<{NAMESPACE}{row} >"


def array_of(t: Tensor) -> np.ndarray:
    """A tensor's bits as an array."""
    return t.view(torch.int16).numpy() if t.element_size() == 2 else t.numpy()


class Device:
    """Arrays that kernels read and write, by name."""

    def __init__(self, **tensors: Tensor) -> None:
        self.arrays = {name: device_copy(array_of(t)) for name, t in tensors.items()}

    def pointers(self) -> dict[str, int]:
        return {name: array.ctypes.data for name, array in self.arrays.items()}

    def holds(self, name: str, t: Tensor) -> bool:
        """Equal bits."""
        return self.arrays[name].tobytes() == array_of(t.contiguous()).tobytes()
