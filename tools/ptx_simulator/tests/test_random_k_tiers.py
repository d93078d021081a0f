"""Random-k: a tier of Top-k chooses among the random words and marks what it chose, and then what
is marked is kept: the bits of the CPU kernel, from one pass over the rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from calls import STATISTICS, TRANSITION, Call, compression, step, values
from device import Machine
from library import DTYPES
from tables import RANDOM_TIERS, Tier

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
LIMITS: dict[str, Any] = {"clip": eff.ClipValue(1.5), "bounds": (-1.0, 1.25)}
ROWS = 5  # that two teams take in turn, so that one of them has none in the end
BIASED = eff.RandomK(ratio=0.3, unbiased=False)
WARPS, BLOCKS = Tier(BIASED, "topk_warps"), Tier(BIASED, "topk_rows")


def check(call: Call, tier: Tier) -> None:
    tier.check_launched(call.check(tier.machine(call.compute, has_sums=False)))


@dtypes
@pytest.mark.parametrize("dim", [5, 256, 257, 1000, 1024])
def test_a_step_of_warps_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    """In rows that 16 warps take in turn."""
    check(step(19, dim, dtype, BIASED, residual=True, **LIMITS), WARPS)


@dtypes
@pytest.mark.parametrize("dim", [1030, 2500])
def test_a_step_of_blocks_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    check(step(ROWS, dim, dtype, BIASED, residual=True, **LIMITS), BLOCKS)


@pytest.mark.parametrize("tier", RANDOM_TIERS)
def test_a_step_of_teams_equals_the_cpu_kernel(tier: str) -> None:
    for dim in (2500, 4100) if tier == "grid" else (1030, 2500):
        call = step(ROWS, dim, torch.float32, eff.RandomK(ratio=0.3), **LIMITS)
        check(call, RANDOM_TIERS[tier])


@dtypes
@pytest.mark.parametrize("sums", [STATISTICS, TRANSITION])
def test_sums_over_rows_equal_the_cpu_kernel(dtype: torch.dtype, sums: str) -> None:
    clip = eff.ClipNorm(20.0)
    for dim, tier in ((1000, WARPS), (1030, BLOCKS)):
        check(step(3, dim, dtype, BIASED, residual=True, clip=clip, sums=sums), tier)


@dtypes
@pytest.mark.parametrize("unbiased", [False, True])
def test_compression_equals_the_cpu_kernel(dtype: torch.dtype, unbiased: bool) -> None:
    for dim, tier in ((5, WARPS), (1000, WARPS), (1030, BLOCKS)):
        for k in (1, dim // 3, dim - 1):
            compressor = eff.RandomK(k, unbiased=unbiased)
            check(compression(values(ROWS, dim, dtype), compressor), tier)


def test_teams_of_many_threads_equal_the_cpu_kernel() -> None:
    check(compression(values(ROWS, 8300, torch.float32), eff.RandomK(ratio=0.3)), BLOCKS)


@dtypes
@pytest.mark.parametrize("dim", [5, 1024])
def test_nothing_and_all_equal_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    for k in (0, dim):
        compression(values(3, dim, dtype), eff.RandomK(k)).check()
        biased = eff.RandomK(k, unbiased=False)
        step(3, dim, dtype, biased, residual=True, **LIMITS).check()


def test_blocks_take_turns_at_what_is_marked() -> None:
    for rows, dim in ((33, 60), (3, 9001)):
        call = step(rows, dim, torch.float32, eff.RandomK(ratio=0.3), **LIMITS)
        call.check(Machine(most_blocks=2))
