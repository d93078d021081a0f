"""Block-Sign in the lanes of a warp, by segments in shared memory, and window by window: the bits
of the CPU kernel, from one pass over memory by all but the last."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from calls import Call, compression, step, values
from library import DTYPES
from tables import LANES, SEGMENTS, WINDOWS, Tier

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
LIMITS: dict[str, Any] = {"clip": eff.ClipValue(1.5), "bounds": (-1.0, 1.25)}
ROWS = 3


def check(call: Call, tier: Tier) -> None:
    machine = tier.machine(call.compute, has_sums=False)
    tier.check_launched(call.check(machine, tier.passes))


@dtypes
@pytest.mark.parametrize(
    ("dim", "size"), [(5, 1000), (1, 4), (128, 4), (300, 64), (301, 128), (4133, 32), (64, 128)]
)
def test_blocks_of_lanes_equal_the_cpu_kernel(dtype: torch.dtype, dim: int, size: int) -> None:
    check(step(ROWS, dim, dtype, eff.BlockSign(size), residual=True, **LIMITS), LANES)
    check(compression(values(ROWS, dim, dtype), eff.BlockSign(size)), LANES)


def with_offsets(*inner: int, dim: int) -> tuple[int, eff.BlockSign]:
    return dim, eff.BlockSign(block_offsets=[0, *inner, dim])


rows_of_blocks = pytest.mark.parametrize(
    ("dim", "compressor"),
    [
        (5, eff.BlockSign(2)),
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
@pytest.mark.parametrize("tier", [SEGMENTS, WINDOWS], ids=lambda tier: tier.kernel)
def test_whole_rows_equal_the_cpu_kernel(
    dtype: torch.dtype, dim: int, compressor: eff.BlockSign, tier: Tier
) -> None:
    check(step(ROWS, dim, dtype, compressor, residual=True, **LIMITS), tier)


@dtypes
@pytest.mark.parametrize("size", [48, 1500, 1028])
def test_segments_equal_the_cpu_kernel(dtype: torch.dtype, size: int) -> None:
    """In rows of two segments, the second of them short."""
    check(step(2, 9001, dtype, eff.BlockSign(size), residual=True), SEGMENTS)


@dtypes
@pytest.mark.parametrize("tier", [SEGMENTS, WINDOWS], ids=lambda tier: tier.kernel)
def test_compression_equals_the_cpu_kernel(dtype: torch.dtype, tier: Tier) -> None:
    check(compression(values(ROWS, 3500, dtype), eff.BlockSign(1500)), tier)


@pytest.mark.parametrize("size", [30, 4098])
def test_segments_of_many_threads_equal_the_cpu_kernel(size: int) -> None:
    check(step(2, 20_001, torch.float32, eff.BlockSign(size), residual=True), SEGMENTS)
