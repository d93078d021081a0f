"""Natural compression, element by element: the bits of the CPU kernel, from one pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from calls import STATISTICS, TRANSITION, compression, step, values
from library import DTYPES

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
mantissas = pytest.mark.parametrize("bits", [0, 7, 22])
LIMITS: dict[str, Any] = {"clip": eff.ClipValue(1.5), "bounds": (-1.0, 1.25)}


@dtypes
@mantissas
def test_a_step_equals_the_cpu_kernel(dtype: torch.dtype, bits: int) -> None:
    for dim in (5, 1024, 4101):
        step(3, dim, dtype, eff.NaturalCompression(bits), residual=True, **LIMITS).check()


@dtypes
@pytest.mark.parametrize("sums", [STATISTICS, TRANSITION])
def test_sums_over_rows_equal_the_cpu_kernel(dtype: torch.dtype, sums: str) -> None:
    compressor, clip = eff.NaturalCompression(2), eff.ClipNorm(20.0)
    for rows, dim in ((33, 60), (3, 1030)):
        step(rows, dim, dtype, compressor, residual=True, clip=clip, sums=sums).check()


def special_rows(dim: int, dtype: torch.dtype) -> torch.Tensor:
    """Infinities, zeros and NaN; denormals; the largest numbers, and those just below powers of
    two. Not NaN of 16 bits, which devices write with different bits."""
    x, limits = values(3, dim, dtype), torch.finfo(dtype)
    x[0, ::5], x[0, 1::5], x[0, 2::5] = torch.inf, -torch.inf, -0.0
    if dtype.itemsize > 2:
        x[0, 3::5], x[0, 4::10] = torch.nan, -torch.nan
    x[1] *= limits.smallest_normal / 4
    x[2, ::3], x[2, 1::3] = limits.max, -limits.max
    x[2, 2::3] = 2 - limits.eps
    return x


@dtypes
@mantissas
def test_compression_equals_the_cpu_kernel(dtype: torch.dtype, bits: int) -> None:
    for dim in (5, 1030):
        compression(special_rows(dim, dtype), eff.NaturalCompression(bits)).check()


@dtypes
@pytest.mark.parametrize(("rows", "dim"), [(300, 5), (33, 60), (3, 9001)])
def test_short_rows_and_long_ones(dtype: torch.dtype, rows: int, dim: int) -> None:
    step(rows, dim, dtype, eff.NaturalCompression(), **LIMITS).check()


@dtypes
def test_rows_that_are_not_aligned_move_element_by_element(dtype: torch.dtype) -> None:
    compression(values(3, 1024, dtype), eff.NaturalCompression(3)).check(shift=1)
