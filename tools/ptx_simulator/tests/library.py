"""The library's CUDA kernels as nvcc compiles them, their parameters, and their costs."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from ptx_simulator import (
    Counters,
    Module,
    Traffic,
    compile_ptx,
    device_array,
    device_copy,
    find_nvcc,
    load,
)
from torch import Tensor

CUDA = Path(__file__).resolve().parents[3] / "csrc" / "cuda"
THREADS = 256
DTYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.bfloat16: "effebm::baseline::core::bfloat16",
    torch.float16: "effebm::baseline::core::float16",
}
NAMESPACE = "effebm::baseline::cuda_kernels::"


class CompressorParams(ctypes.Structure):
    """CompressorParams of csrc/core/compressors.h, with which those below begin."""

    _fields_ = (
        *[("compressor", ctypes.c_int), ("compressor_size", ctypes.c_int64)],
        *[("block_offsets", ctypes.c_uint64)],
        *[("n_blocks", ctypes.c_int64), ("key", ctypes.c_uint64)],
        *[("offset", ctypes.c_int64), ("first_chain", ctypes.c_int64)],
    )


class StepParams(CompressorParams):
    """LangevinStepParams of csrc/core/langevin_step.h, and what csrc/cuda/step_row.cuh adds."""

    _fields_ = (
        *[("dtype", ctypes.c_int), ("rows", ctypes.c_int64), ("dim", ctypes.c_int64)],
        *[(name, ctypes.c_uint64) for name in ("x", "out", "grad", "residual", "drift", "delta")],
        *[("row_sums_of", ctypes.c_int), ("row_sums", ctypes.c_uint64)],
        *[("step_size", ctypes.c_double), ("step_sizes", ctypes.c_uint64)],
        *[("step_sizes_stride", ctypes.c_int64), ("has_noise_std", ctypes.c_bool)],
        *[("noise_std", ctypes.c_double), ("noise_stds", ctypes.c_uint64)],
        *[("noise_stds_stride", ctypes.c_int64)],
        *[("clip", ctypes.c_int), ("clip_limit", ctypes.c_double)],
        *[("bounds", ctypes.c_int), ("lower", ctypes.c_double), ("upper", ctypes.c_double)],
        *[("norm_scales", ctypes.c_uint64), ("group_sums", ctypes.c_uint64)],
    )


class Blocks(ctypes.Structure):
    """Blocks of csrc/core/block_sign.h."""

    _fields_ = (
        *[("dim", ctypes.c_int64), ("size", ctypes.c_int64)],
        *[("offsets", ctypes.c_uint64), ("count", ctypes.c_int64)],
    )


class CompressParams(CompressorParams):
    """CompressParams of csrc/core/compressors.h."""

    _fields_ = (
        *[("dtype", ctypes.c_int), ("rows", ctypes.c_int64), ("dim", ctypes.c_int64)],
        *[("x", ctypes.c_uint64), ("out", ctypes.c_uint64)],
    )


class ChoiceParams(CompressorParams):
    """ChoiceParams of csrc/cuda/random_k_launch.cuh."""

    _fields_ = (("rows", ctypes.c_int64), ("dim", ctypes.c_int64), ("marks", ctypes.c_uint64))


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


class TeamShape(ctypes.Structure):
    """TeamShape of csrc/cuda/team.cuh."""

    _fields_ = (("size", ctypes.c_int), ("slice", ctypes.c_int64), ("counters", ctypes.c_uint64))


class KeepMarked(ctypes.Structure):
    """KeepMarked of csrc/cuda/random_k_launch.cuh."""

    _fields_ = (("marks", ctypes.c_uint64),)


class SignInLanes(ctypes.Structure):
    """SignInLanes of csrc/cuda/block_sign_lanes.cuh."""

    _fields_ = (("dim", ctypes.c_int64), ("lanes", ctypes.c_int))


class GroupSums(ctypes.Structure):
    """GroupSums of csrc/cuda/block_sign_windows.cuh."""

    _fields_ = (("sums", ctypes.c_uint64), ("per_row", ctypes.c_int64))


class SignBySums(ctypes.Structure):
    """SignBySums of csrc/cuda/block_sign_windows.cuh."""

    _fields_ = (("blocks", Blocks), ("groups", GroupSums))


def fields(kind: type[ctypes.Structure]) -> set[str]:
    """The names of a structure's fields, those of its base among them."""
    kinds = [one for one in kind.__mro__ if issubclass(one, ctypes.Structure)]
    return {name for one in kinds for name, *_ in getattr(one, "_fields_", ())}


@functools.cache
def compiled(name: str) -> Module:
    if find_nvcc() is None:
        pytest.skip("nvcc is not installed, so there is no PTX to simulate")
    return load(compile_ptx(CUDA / f"{name}.cu"))


def array_of(t: Tensor) -> np.ndarray:
    """Returns a tensor as an array, and 16-bit floats as their bits."""
    return t.view(torch.int16).numpy() if t.element_size() == 2 else t.numpy()


class Device:
    """Arrays that kernels read and write, by name."""

    def __init__(self, **tensors: Tensor) -> None:
        self.arrays = {name: device_copy(array_of(t)) for name, t in tensors.items()}

    def pointers(self) -> dict[str, int]:
        return {name: array.ctypes.data for name, array in self.arrays.items()}

    def space(self, name: str, count: int, dtype: np.typing.DTypeLike) -> int:
        """Returns the address of a workspace, in which anything may stand."""
        array = self.arrays[name] = device_array(count, dtype)
        array.view(np.uint8)[:] = 0xA5
        return array.ctypes.data

    def protect(self, *names: str) -> None:
        """Lets kernels only read these."""
        for name in names:
            self.arrays[name].flags.writeable = False

    def holds(self, name: str, t: Tensor) -> bool:
        """Tells whether an array has the bits of a tensor."""
        return self.arrays[name].tobytes() == array_of(t.contiguous()).tobytes()


def total(*launches: Counters) -> Counters:
    """Adds up what launches execute and move, one after the other."""
    all_launches, buffers = Counters(), dict[str, Traffic]()
    for counters in launches:
        all_launches.instructions.update(counters.instructions)
        all_launches.opcodes.update(counters.opcodes)
        for one in counters.buffers:
            all_ = buffers.setdefault(one.name, Traffic(one.name))
            all_.read_bytes += one.read_bytes
            all_.written_bytes += one.written_bytes
            all_.load_widths.update(one.load_widths)
            all_.store_widths.update(one.store_widths)
            all_.atomics += one.atomics
            all_.atomic_bytes += one.atomic_bytes
    all_launches.buffers = list(buffers.values())
    return all_launches


def cost(counters: Counters) -> int:
    """Counts the thread-instructions that take an issue slot. mov and cvt.u32.u64, the lower half
    of a pair of registers, take none: ptxas emits nothing for them, but names the registers in the
    instructions that use them. The upper half, shr.u64 by 32, costs as little, but is counted:
    counters do not tell it from other shifts."""
    free = {"cvt.u32.u64"}
    return sum(
        count
        for opcode, count in counters.opcodes.items()
        if opcode not in free and not opcode.startswith("mov.")
    )


# All lanes of a warp, or nearly all, read these at one address.
READ_BY_WARPS = {"key", "norm_scales", "block_sums"}


def bytes_moved(counters: Counters) -> float:
    """Counts the bytes that threads load from global memory and store there, without atomics. An
    address that a whole warp loads is read once."""
    return sum(
        b.written_bytes + b.read_bytes / (32 if b.name in READ_BY_WARPS else 1)
        for b in counters.buffers
    )
