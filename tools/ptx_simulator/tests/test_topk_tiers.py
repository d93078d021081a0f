"""Top-k by a warp, a thread block, a cluster, and parts of a grid: the bits of the CPU kernel, from
one pass over memory where the row stays in shared memory."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from launches import topk_rows, topk_warps
from library import DTYPES
from problems import Compression, Step, values

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
LIMITS: dict[str, Any] = {"clip": eff.ClipValue(1.5), "bounds": (-1.0, 1.25)}
ROWS = 5  # two teams take them in turn, so that one of them has none in the end


two_teams = functools.partial(topk_rows, teams=2)
# Teams have slices of one tile each, the last of them short or, in a cluster, empty.
TEAMS = {
    "block": functools.partial(two_teams, team="SingleBlock"),
    "cluster": functools.partial(two_teams, team="Cluster", blocks=4),
    "resident grid": functools.partial(two_teams, team="Grid", blocks=3),
    "grid": functools.partial(two_teams, team="Grid", blocks=3, resident=False),
}
teams = pytest.mark.parametrize("tier", TEAMS)


def passes(tier: str, dtype: torch.dtype) -> int:
    """Counts passes over a row: one per 11 bits of a key, and a last one; one if it is resident."""
    bits = 63 if dtype == torch.float64 else 31
    return -(-bits // 11) + 1 if tier == "grid" else 1


@pytest.mark.parametrize(
    ("dtype", "dim"), [(torch.float32, 5), *((d, n) for d in DTYPES for n in (1030, 2500))], ids=str
)
@teams
def test_a_step_of_teams_equals_the_cpu_kernel(dtype: torch.dtype, dim: int, tier: str) -> None:
    problem = Step(ROWS, dim, dtype, eff.TopK(ratio=0.3), residual=True, **LIMITS)
    problem.check(TEAMS[tier], passes(tier, dtype))


@dtypes
@teams
def test_compression_by_teams_equals_the_cpu_kernel(dtype: torch.dtype, tier: str) -> None:
    problem = Compression(values(ROWS, 1030, dtype), eff.TopK(ratio=0.3))
    problem.check(TEAMS[tier], passes(tier, dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@teams
def test_teams_of_many_threads_equal_the_cpu_kernel(dtype: torch.dtype, tier: str) -> None:
    problem = Step(3, 5000, dtype, eff.TopK(ratio=0.3), bounds=eff.Reflect(-1.0, 1.25))
    problem.check(functools.partial(TEAMS[tier], threads=512), passes(tier, dtype))


def hard_rows(dim: int, dtype: torch.dtype) -> torch.Tensor:
    """Makes rows of one magnitude, zeros, infinities and negative zeros, denormals, few values."""
    x = values(5, dim, dtype)
    x[0] = x[0].sign() + (x[0] == 0)
    x[1] = 0
    x[2, ::5], x[2, 1::5] = -torch.inf, -0.0
    x[3] *= torch.finfo(dtype).smallest_normal / 4
    x[4] = x[4].round()
    return x


@dtypes
@teams
def test_the_first_of_equals_are_kept_across_slices(dtype: torch.dtype, tier: str) -> None:
    dim = 2500
    for k in (1, 1500):
        problem = Compression(hard_rows(dim, dtype), eff.TopK(k))
        problem.check(TEAMS[tier], passes(tier, dtype))


@dtypes
@pytest.mark.parametrize("dim", [5, 256, 257, 1000, 1024])
def test_a_step_of_warps_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    """16 warps take the rows in turn."""
    tier = functools.partial(topk_warps, grid=2)
    Step(19, dim, dtype, eff.TopK(ratio=0.3), residual=True, **LIMITS).check(tier)


@dtypes
@pytest.mark.parametrize("dim", [5, 250, 1000])
def test_compression_by_warps_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    for k in (1, dim // 2, dim - 1):
        Compression(hard_rows(dim, dtype), eff.TopK(k)).check(topk_warps)
