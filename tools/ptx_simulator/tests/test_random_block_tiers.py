"""Random-block: a step in place touches the blocks only, by a kernel of its own; other steps are
made by flat kernels. Steps with step sizes or noise for elements are made by flat kernels too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from calls import TRANSITION, compression, step, values
from library import DTYPES

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
LIMITS: dict[str, Any] = {"clip": eff.ClipNorm(20.0), "bounds": (-1.0, 1.25)}


@dtypes
@pytest.mark.parametrize("dim", [5, 64, 257, 1000, 3072])
def test_steps_in_place_touch_the_blocks_only(dtype: torch.dtype, dim: int) -> None:
    rows = 19 if dim <= 512 else 5
    for k in (0, 1, dim // 3, dim - 1, dim):
        step(rows, dim, dtype, eff.RandomBlock(k)).check()
    step(rows, dim, dtype, eff.RandomBlock(ratio=0.1), per_chain=False, **LIMITS).check()


@dtypes
def test_rows_that_are_not_aligned(dtype: torch.dtype) -> None:
    step(7, 64, dtype, eff.RandomBlock(9)).check(shift=1)


@dtypes
def test_the_others_equal_the_cpu_kernel(dtype: torch.dtype) -> None:
    for dim in (5, 1000, 1030):
        block = eff.RandomBlock(ratio=0.3)
        compression(values(7, dim, dtype), block).check()
        step(7, dim, dtype, block, sums=TRANSITION).check()


@dtypes
@pytest.mark.parametrize("compressor", [None, eff.TopK(9), eff.BlockSign(16), eff.RandomBlock(20)])
def test_scalars_of_elements_equal_the_cpu_kernel(
    dtype: torch.dtype, compressor: eff.TopK | eff.BlockSign | eff.RandomBlock | None
) -> None:
    for dim in (30, 64, 1000):
        call = step(3, dim, dtype, compressor, of_elements=True, bounds=(-1.0, 1.25))
        call._replace(reports=True).check()
