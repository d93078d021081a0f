"""Block-Sign in the lanes of a warp, by segments in shared memory, and window by window: the bits
of the CPU kernel, from one pass over memory by all but the last."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from launches import block_sign_lanes, block_sign_segments, block_sign_windows
from library import DTYPES
from problems import Compression, Step, values

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
LIMITS: dict[str, Any] = {"clip": eff.ClipValue(1.5), "bounds": (-1.0, 1.25)}
ROWS = 3


@dtypes
@pytest.mark.parametrize(
    ("dim", "size"), [(5, 1000), (1, 4), (128, 4), (300, 64), (301, 128), (4133, 32), (64, 128)]
)
def test_blocks_of_lanes_equal_the_cpu_kernel(dtype: torch.dtype, dim: int, size: int) -> None:
    tier = functools.partial(block_sign_lanes, grid=2)
    Step(ROWS, dim, dtype, eff.BlockSign(size), residual=True, **LIMITS).check(tier)
    Compression(values(ROWS, dim, dtype), eff.BlockSign(size)).check(block_sign_lanes)


def with_offsets(*inner: int, dim: int) -> tuple[int, eff.BlockSign]:
    return dim, eff.BlockSign(block_offsets=[0, *inner, dim])


rows_of_blocks = pytest.mark.parametrize(
    ("dim", "compressor"),
    [
        (5, eff.BlockSign(48)),
        (1024, eff.BlockSign(1025)),
        (1030, eff.BlockSign(48)),
        (3500, eff.BlockSign(1025)),  # blocks longer than a group of a sum
        with_offsets(1, 4, 7, 515, 1029, dim=1030),
        with_offsets(2, 1030, 3499, dim=3500),
    ],
    ids=str,
)


@dtypes
@rows_of_blocks
def test_whole_rows_equal_the_cpu_kernel(
    dtype: torch.dtype, dim: int, compressor: eff.BlockSign
) -> None:
    tier = functools.partial(block_sign_segments, grid=2)
    Step(ROWS, dim, dtype, compressor, residual=True, **LIMITS).check(tier)


@dtypes
@rows_of_blocks
def test_windows_equal_the_cpu_kernel(
    dtype: torch.dtype, dim: int, compressor: eff.BlockSign
) -> None:
    tier = functools.partial(block_sign_windows, grid=2)
    Step(ROWS, dim, dtype, compressor, residual=True, **LIMITS).check(tier, passes=2)


@dtypes
@pytest.mark.parametrize(("size", "segment"), [(48, 480), (1500, 3000), (1028, 1028)])
def test_segments_equal_the_cpu_kernel(dtype: torch.dtype, size: int, segment: int) -> None:
    tier = functools.partial(block_sign_segments, segment=segment, grid=4)
    Step(2, 5001, dtype, eff.BlockSign(size), residual=True).check(tier)


@dtypes
def test_compression_equals_the_cpu_kernel(dtype: torch.dtype) -> None:
    x, compressor = values(ROWS, 3500, dtype), eff.BlockSign(1500)
    Compression(x, compressor).check(functools.partial(block_sign_segments, segment=3000))
    Compression(x, compressor).check(block_sign_windows, passes=2)


def test_segments_of_many_threads_equal_the_cpu_kernel() -> None:
    tier = functools.partial(block_sign_segments, segment=9000, threads=512)
    for size in (30, 3000):
        Step(2, 20_001, torch.float32, eff.BlockSign(size), residual=True).check(tier)
