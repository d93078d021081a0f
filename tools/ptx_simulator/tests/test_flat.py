"""Rows whose elements need nothing of each other: everything in them is kept, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from calls import compression, step, values
from library import DTYPES

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
LIMITS: dict[str, Any] = {"clip": eff.ClipValue(1.5), "bounds": (-1.0, 1.25)}


@dtypes
@pytest.mark.parametrize("dim", [5, 1024, 1030, 4100])
def test_a_step_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    step(3, dim, dtype).check()
    step(3, dim, dtype, **LIMITS).check()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"clip": eff.ClipNorm(20.0)},
        {"bounds": eff.Reflect(-1.0, 1.25)},
        {"noise_std": 0.0},
        {"noise_std": 0.6, "bounds": (-1.0, 1.25)},
        {"per_chain": True},
    ],
    ids=str,
)
def test_each_option_of_a_step_equals_the_cpu_kernel(
    dtype: torch.dtype, options: dict[str, Any]
) -> None:
    for dim in (1030, 1032):
        step(3, dim, dtype, **options).check()


@dtypes
@pytest.mark.parametrize(("rows", "dim"), [(300, 5), (600, 1), (33, 60), (9, 512), (300, 8)])
def test_short_rows_share_a_block(dtype: torch.dtype, rows: int, dim: int) -> None:
    step(rows, dim, dtype).check()
    step(rows, dim, dtype, **LIMITS).check()


def test_a_row_of_many_blocks_has_a_thread_per_vector() -> None:
    for dtype, elements in ((torch.float32, 4), (torch.float64, 4), (torch.bfloat16, 8)):
        (launch,) = step(3, 9008, dtype).check()
        assert launch.grid == (-(3 * 9008 // elements // -256), 1, 1)


@dtypes
@pytest.mark.parametrize("dim", [5, 1024])
def test_topk_of_nothing_and_of_all(dtype: torch.dtype, dim: int) -> None:
    for k in (0, dim):
        compression(values(3, dim, dtype), eff.TopK(k)).check()
        step(3, dim, dtype, eff.TopK(k)).check()
        step(3, dim, dtype, eff.TopK(k), residual=True, **LIMITS).check()


@dtypes
def test_rows_that_are_not_aligned_move_element_by_element(dtype: torch.dtype) -> None:
    step(3, 1024, dtype).check(shift=1)
    step(3, 1024, dtype, eff.TopK(1024), residual=True).check(shift=1)


@dtypes
def test_rows_aligned_to_four_elements_move_by_four(dtype: torch.dtype) -> None:
    step(3, 1024, dtype).check(shift=4)
