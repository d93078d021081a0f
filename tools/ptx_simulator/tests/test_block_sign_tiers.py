"""Block-Sign in the lanes of a warp, in the registers of threads, and window by window: the bits of
the CPU kernel, from one pass over memory by all but the last."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from calls import compression, step, values
from library import DTYPES
from tables import BLOCKS, FLAT, WINDOWS

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
LIMITS: dict[str, Any] = {"clip": eff.ClipValue(1.5), "bounds": (-1.0, 1.25)}
ROWS = 3


@dtypes
@pytest.mark.parametrize(
    ("dim", "size"),
    [(5, 1000), (1, 4), (128, 4), (120, 8), (300, 64), (301, 128), (4133, 32), (64, 128)],
)
def test_blocks_of_lanes_equal_the_cpu_kernel(dtype: torch.dtype, dim: int, size: int) -> None:
    compressor = eff.BlockSign(size)
    for call in (
        step(ROWS, dim, dtype, compressor),
        step(ROWS, dim, dtype, compressor, residual=True, **LIMITS),
        compression(values(ROWS, dim, dtype), compressor),
    ):
        assert call.tier == FLAT
        call.check()


@dtypes
@pytest.mark.parametrize(
    ("rows", "dim", "size"),
    [
        (1, 64, 12),  # shorter than what a thread has
        (19, 200, 48),  # several blocks of a warp
        (3, 1030, 256),
        (3, 1030, 1024),
        (3, 1030, 1028),  # the second is short
        (2, 5001, 3072),  # several groups of a sum
        (3, 131, 200),  # whole rows
        (3, 3501, 4000),
        (1, 8192, 8192),  # the longest of doubles
    ],
)
def test_blocks_in_registers_equal_the_cpu_kernel(
    dtype: torch.dtype, rows: int, dim: int, size: int
) -> None:
    compressor = eff.BlockSign(size)
    for call in (
        step(rows, dim, dtype, compressor, residual=True, **LIMITS),
        compression(values(rows, dim, dtype), compressor),
    ):
        assert call.tier == BLOCKS
        call.check()


def test_the_longest_blocks_in_registers_equal_the_cpu_kernel() -> None:
    for dim, size in ((16_384, 16_384), (33_000, 16_380)):
        call = step(1, dim, torch.float32, eff.BlockSign(size))
        assert call.tier == BLOCKS
        call.check()


def with_offsets(*inner: int, dim: int) -> tuple[int, eff.BlockSign]:
    return dim, eff.BlockSign(block_offsets=[0, *inner, dim])


@dtypes
@pytest.mark.parametrize(
    ("dim", "compressor"),
    [
        (5, eff.BlockSign(2)),
        (1030, eff.BlockSign(510)),
        (3500, eff.BlockSign(1025)),  # blocks longer than a group of a sum
        (20_001, eff.BlockSign(4098)),
        (16_386, eff.BlockSign(16_386)),  # too long for registers
        with_offsets(dim=700),
        with_offsets(1, 4, 7, 515, 1029, dim=1030),
        with_offsets(2, 1030, 3499, dim=3500),
    ],
    ids=str,
)
def test_windows_equal_the_cpu_kernel(
    dtype: torch.dtype, dim: int, compressor: eff.BlockSign
) -> None:
    for call in (
        step(ROWS, dim, dtype, compressor, residual=True, **LIMITS),
        compression(values(ROWS, dim, dtype), compressor),
    ):
        assert call.tier.kernels[-3:] == WINDOWS.kernels
        call.check(most_blocks=2)


def test_windows_of_many_blocks_equal_the_cpu_kernel() -> None:
    step(3, 20_001, torch.float32, eff.BlockSign(30), residual=True).check()
