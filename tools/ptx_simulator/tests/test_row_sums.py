"""Sums over rows, which a step takes on its way: the bits of the CPU kernel, from no other pass
over the rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from calls import STATISTICS, TRANSITION, Call, drift, step
from device import Machine
from library import DTYPES
from tables import ALL_TIERS

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
CLIPS = (eff.ClipValue(1.5), eff.ClipNorm(20.0))
ROWS = 3
TOPK = eff.TopK(ratio=0.3)
tiers = pytest.mark.parametrize("tier", ALL_TIERS)
SHORT = [tier for tier in ALL_TIERS if tier not in ("cluster", "resident grid", "grid")]


def check(call: Call, tier: str) -> None:
    chosen = ALL_TIERS[tier]
    machine = chosen.machine(call.compute, has_sums=True)
    chosen.check_launched(call.check(machine, chosen.passes_of(call.compute)))


@tiers
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_transition_equals_the_cpu_kernel(tier: str, dtype: torch.dtype) -> None:
    compressor, clip = ALL_TIERS[tier].compressor, eff.ClipNorm(20.0)
    check(step(ROWS, 2049, dtype, compressor, clip=clip, sums=TRANSITION), tier)


@pytest.mark.parametrize(
    ("tier", "dim"), [*((tier, 5) for tier in SHORT), *((tier, 2050) for tier in ALL_TIERS)]
)
def test_statistics_equal_the_cpu_kernel(tier: str, dim: int) -> None:
    compressor, clip = ALL_TIERS[tier].compressor, CLIPS[dim == 5]
    if dim == 5 and tier in ("segments", "windows"):
        compressor = eff.BlockSign(2)  # larger blocks are for lanes
    residual = compressor is not None
    call = step(ROWS, dim, torch.float32, compressor, clip=clip, residual=residual, sums=STATISTICS)
    check(call, tier)


def test_sums_over_two_segments_equal_the_cpu_kernel() -> None:
    check(step(2, 9001, torch.float32, eff.BlockSign(512), sums=TRANSITION), "segments")


@dtypes
def test_statistics_of_every_dtype_equal_the_cpu_kernel(dtype: torch.dtype) -> None:
    check(step(ROWS, 1030, dtype, clip=CLIPS[0], sums=STATISTICS), "no compressor")
    check(step(ROWS, 1030, dtype, TOPK, clip=CLIPS[1], sums=STATISTICS), "block")


@dtypes
@pytest.mark.parametrize(
    ("rows", "dim", "sums"),
    [(300, 5, TRANSITION), (600, 1, STATISTICS), (33, 60, TRANSITION), (9, 512, STATISTICS)],
)
def test_short_rows_that_share_a_block_have_their_own_sums(
    dtype: torch.dtype, rows: int, dim: int, sums: str
) -> None:
    call = step(rows, dim, dtype, clip=eff.ClipValue(1.0), sums=sums)
    call.check(Machine(most_blocks=2))


@dtypes
@pytest.mark.parametrize("tier", ["no compressor", "block", "segments", "random-k", "natural"])
def test_a_drift_equals_the_cpu_kernel(dtype: torch.dtype, tier: str) -> None:
    options: tuple[tuple[int, Any, bool], ...] = ((5, CLIPS[0], False), (1030, CLIPS[1], True))
    for dim, clip, with_delta in options:
        call = drift(ROWS, dim, dtype, ALL_TIERS[tier].compressor, clip, with_delta)
        call.check(Machine(most_blocks=2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_more_groups_than_one_level_holds_are_joined(dtype: torch.dtype) -> None:
    step(1, 1026 * 1024 + 5, dtype, noise_std=0.0, clip=eff.ClipNorm(9.0), sums=STATISTICS).check()
