"""Sums over rows, which a step takes on its way: the bits of the CPU kernel, from at most one
more pass over the gradient, where the compressor looks at whole rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from calls import STATISTICS, TRANSITION, drift, step
from library import DTYPES

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
CLIPS = (eff.ClipValue(1.5), eff.ClipNorm(20.0))
ROWS = 3
TOPK = eff.TopK(ratio=0.3)
COMPRESSORS = {
    "none": None,
    "top-k": TOPK,
    "blocks of lanes": eff.BlockSign(64),
    "blocks of quads": eff.BlockSign(512),
    "other blocks": eff.BlockSign(510),
    "random-k": eff.RandomK(ratio=0.3, unbiased=False),
    "natural": eff.NaturalCompression(2),
}
compressors = pytest.mark.parametrize("compressor", COMPRESSORS)


@compressors
@dtypes
def test_a_transition_equals_the_cpu_kernel(compressor: str, dtype: torch.dtype) -> None:
    clip = eff.ClipNorm(20.0)
    step(ROWS, 2049, dtype, COMPRESSORS[compressor], clip=clip, sums=TRANSITION).check()


@compressors
@pytest.mark.parametrize("dim", [5, 600, 2052])
def test_statistics_equal_the_cpu_kernel(compressor: str, dim: int) -> None:
    chosen, clip = COMPRESSORS[compressor], CLIPS[dim == 5]
    residual = chosen is not None
    call = step(ROWS, dim, torch.float32, chosen, clip=clip, residual=residual, sums=STATISTICS)
    call.check(most_blocks=2)


@pytest.mark.parametrize("compressor", [TOPK, eff.RandomK(1000)], ids=str)
@pytest.mark.parametrize("sums", [STATISTICS, TRANSITION])
def test_sums_of_long_rows_equal_the_cpu_kernel(compressor: Any, sums: str) -> None:
    step(2, 16_500, torch.float32, compressor, clip=CLIPS[1], sums=sums).check()


def test_sums_over_several_blocks_equal_the_cpu_kernel() -> None:
    step(2, 9001, torch.float32, eff.BlockSign(512), sums=TRANSITION).check()
    step(2, 9001, torch.float32, eff.BlockSign(9001), sums=TRANSITION).check()


@dtypes
def test_statistics_of_every_dtype_equal_the_cpu_kernel(dtype: torch.dtype) -> None:
    step(ROWS, 1030, dtype, clip=CLIPS[0], sums=STATISTICS).check()
    step(ROWS, 1030, dtype, TOPK, clip=CLIPS[1], sums=STATISTICS).check()


@dtypes
@pytest.mark.parametrize(
    ("rows", "dim", "sums"),
    [(300, 5, TRANSITION), (600, 1, STATISTICS), (33, 60, TRANSITION), (9, 512, STATISTICS)],
)
def test_short_rows_that_share_a_block_have_their_own_sums(
    dtype: torch.dtype, rows: int, dim: int, sums: str
) -> None:
    step(rows, dim, dtype, clip=eff.ClipValue(1.0), sums=sums).check()


@dtypes
@compressors
def test_a_drift_equals_the_cpu_kernel(dtype: torch.dtype, compressor: str) -> None:
    options: tuple[tuple[int, Any, bool], ...] = ((5, CLIPS[0], False), (1030, CLIPS[1], True))
    for dim, clip, with_delta in options:
        call = drift(ROWS, dim, dtype, COMPRESSORS[compressor], clip, with_delta)
        call.check(most_blocks=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_more_groups_than_one_level_holds_are_joined(dtype: torch.dtype) -> None:
    step(1, 1026 * 1024 + 5, dtype, noise_std=0.0, clip=eff.ClipNorm(9.0), sums=STATISTICS).check()
