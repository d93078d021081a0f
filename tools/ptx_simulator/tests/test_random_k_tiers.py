"""Random-k: a tier of Top-k finds what to keep among the random words, and a flat kernel keeps it:
the bits of the CPU kernel, from one pass over the rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from calls import STATISTICS, TRANSITION, compression, step, values
from library import DTYPES

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
LIMITS: dict[str, Any] = {"clip": eff.ClipValue(1.5), "bounds": (-1.0, 1.25)}
BIASED = eff.RandomK(ratio=0.3, unbiased=False)


@dtypes
@pytest.mark.parametrize("dim", [5, 64, 257, 520, 1000, 3072])
def test_a_step_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    rows = 19 if dim <= 512 else 3
    step(rows, dim, dtype, eff.RandomK(ratio=0.3)).check()
    step(rows, dim, dtype, BIASED, residual=True, **LIMITS).check()


@dtypes
@pytest.mark.parametrize("sums", [STATISTICS, TRANSITION])
def test_sums_over_rows_equal_the_cpu_kernel(dtype: torch.dtype, sums: str) -> None:
    clip = eff.ClipNorm(20.0)
    for dim in (1000, 1030):
        step(3, dim, dtype, BIASED, residual=True, clip=clip, sums=sums).check()


@dtypes
@pytest.mark.parametrize("unbiased", [False, True])
def test_compression_equals_the_cpu_kernel(dtype: torch.dtype, unbiased: bool) -> None:
    for dim in (5, 1000, 1030):
        for k in (1, dim // 3, dim - 1):
            compression(values(3, dim, dtype), eff.RandomK(k, unbiased=unbiased)).check()


@pytest.mark.parametrize("dim", [16_384, 16_500, 40_001])
def test_long_rows_equal_the_cpu_kernel(dim: int) -> None:
    """Their words take no memory, so no tensor is read again."""
    for dtype in (torch.float32, torch.float64):
        step(2, dim, dtype, eff.RandomK(ratio=0.1)).check()
    for k in (1, dim // 2, dim - 1):
        compression(values(1, dim, torch.bfloat16), eff.RandomK(k)).check()


@dtypes
@pytest.mark.parametrize("dim", [5, 1024])
def test_nothing_and_all_equal_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    for k in (0, dim):
        compression(values(3, dim, dtype), eff.RandomK(k)).check()
        step(3, dim, dtype, eff.RandomK(k)).check()
        biased = eff.RandomK(k, unbiased=False)
        step(3, dim, dtype, biased, residual=True, **LIMITS).check()
