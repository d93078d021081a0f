"""Rows whose tiles need nothing of each other: everything in them is kept, or nothing."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from launches import Work, keep_all, keep_nothing
from library import DTYPES
from problems import Compression, Step, values
from ptx_simulator import Counters

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
LIMITS: dict[str, Any] = {"clip": eff.ClipValue(1.5), "bounds": (-1.0, 1.25)}


@dtypes
@pytest.mark.parametrize("dim", [5, 1024, 1030, 4100])
def test_a_step_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    Step(3, dim, dtype, **LIMITS).check(keep_all)


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
    Step(3, 1030, dtype, **options).check(keep_all)


@dtypes
@pytest.mark.parametrize(("rows", "dim"), [(300, 5), (600, 1), (33, 60), (9, 512)])
def test_short_rows_share_a_block(dtype: torch.dtype, rows: int, dim: int) -> None:
    Step(rows, dim, dtype, **LIMITS).check(functools.partial(keep_all, grid=2))


def test_blocks_take_turns_at_long_rows() -> None:
    Step(3, 9001, torch.float32, **LIMITS).check(functools.partial(keep_all, grid=4))


@dtypes
@pytest.mark.parametrize("dim", [5, 1024])
def test_topk_of_nothing_and_of_all(dtype: torch.dtype, dim: int) -> None:
    for k, tier, passes in ((0, keep_nothing, 0), (dim, keep_all, 1)):
        Compression(values(3, dim, dtype), eff.TopK(k)).check(tier, passes)
        Step(3, dim, dtype, eff.TopK(k), residual=True, **LIMITS).check(tier)


@dtypes
def test_rows_that_are_not_aligned_move_element_by_element(dtype: torch.dtype) -> None:
    def element_by_element(work: Work) -> Counters:
        work.vector = False
        return keep_all(work)

    Step(3, 1024, dtype, eff.TopK(1024), residual=True).check(element_by_element)
