"""Random-k: a tier of Top-k chooses among the random words and marks what it chose, and then what
is marked is kept: the bits of the CPU kernel, from one pass over the rows and one over the marks.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from launches import keep_all, keep_nothing, random_k, topk_rows, topk_warps
from library import DTYPES
from problems import STATISTICS, TRANSITION, Compression, Step, values

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
LIMITS: dict[str, Any] = {"clip": eff.ClipValue(1.5), "bounds": (-1.0, 1.25)}
ROWS = 5  # that two teams take in turn, so that one of them has none in the end
BIASED = eff.RandomK(ratio=0.3, unbiased=False)


two_teams = functools.partial(topk_rows, teams=2)
by_warps = functools.partial(random_k, choose=functools.partial(topk_warps, grid=2))
by_blocks = functools.partial(random_k, choose=functools.partial(two_teams, team="SingleBlock"))
# In slices of one tile each, the last of them short or, in a cluster, empty.
TEAMS = {
    "cluster": functools.partial(two_teams, team="Cluster", blocks=4),
    "resident grid": functools.partial(two_teams, team="Grid", blocks=3),
    "grid": functools.partial(two_teams, team="Grid", blocks=3, resident=False),
}


@dtypes
@pytest.mark.parametrize("dim", [5, 256, 257, 1000, 1024])
def test_a_step_of_warps_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    """In rows that 16 warps take in turn."""
    Step(19, dim, dtype, BIASED, residual=True, **LIMITS).check(by_warps)


@dtypes
@pytest.mark.parametrize("dim", [5, 1030, 2500])
def test_a_step_of_blocks_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    Step(ROWS, dim, dtype, BIASED, residual=True, **LIMITS).check(by_blocks)


@pytest.mark.parametrize("dim", [1030, 2500])
@pytest.mark.parametrize("tier", TEAMS)
def test_a_step_of_teams_equals_the_cpu_kernel(tier: str, dim: int) -> None:
    problem = Step(ROWS, dim, torch.float32, eff.RandomK(ratio=0.3), **LIMITS)
    problem.check(functools.partial(random_k, choose=TEAMS[tier]))


@dtypes
@pytest.mark.parametrize("sums", [STATISTICS, TRANSITION])
def test_sums_over_rows_equal_the_cpu_kernel(dtype: torch.dtype, sums: int) -> None:
    clip = eff.ClipNorm(20.0)
    for dim, tier in ((1000, by_warps), (1030, by_blocks)):
        Step(3, dim, dtype, BIASED, residual=True, clip=clip, sums=sums).check(tier)


@dtypes
@pytest.mark.parametrize("unbiased", [False, True])
def test_compression_equals_the_cpu_kernel(dtype: torch.dtype, unbiased: bool) -> None:
    for dim, tier in ((5, by_warps), (1000, by_warps), (1030, by_blocks)):
        for k in (1, dim // 3, dim - 1):
            problem = Compression(values(ROWS, dim, dtype), eff.RandomK(k, unbiased=unbiased))
            problem.check(tier)


def test_teams_of_many_threads_equal_the_cpu_kernel() -> None:
    choose = functools.partial(two_teams, team="SingleBlock", threads=512)
    problem = Compression(values(ROWS, 5000, torch.float32), eff.RandomK(ratio=0.3))
    problem.check(functools.partial(random_k, choose=choose))


@dtypes
@pytest.mark.parametrize("dim", [5, 1024])
def test_nothing_and_all_equal_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    for k, choose in ((0, keep_nothing), (dim, keep_all)):
        tier = functools.partial(random_k, choose=choose)
        Compression(values(3, dim, dtype), eff.RandomK(k)).check(tier)
        biased = eff.RandomK(k, unbiased=False)
        Step(3, dim, dtype, biased, residual=True, **LIMITS).check(tier)


def test_blocks_take_turns_at_what_is_marked() -> None:
    for rows, dim in ((33, 60), (3, 9001)):
        problem = Step(rows, dim, torch.float32, eff.RandomK(ratio=0.3), **LIMITS)
        problem.check(functools.partial(by_blocks, grid=2))
