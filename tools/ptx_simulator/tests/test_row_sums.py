"""Sums over rows, which a step takes on its way: the bits of the CPU kernel, from no more traffic
than one sum per 1024 elements."""

from __future__ import annotations

import functools
from typing import Any

import native
import numpy as np
import pytest
import torch
from launches import (
    Tier,
    Work,
    block_sign_lanes,
    block_sign_segments,
    block_sign_windows,
    join_groups,
    keep_all,
    natural,
    random_k,
    topk_rows,
)
from library import DTYPES
from problems import STATISTICS, TRANSITION, Compressor, Drift, Step

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
CLIPS = (eff.ClipValue(1.5), eff.ClipNorm(20.0))
ROWS = 3


two_teams = functools.partial(topk_rows, teams=2)
by_blocks = functools.partial(two_teams, team="SingleBlock")
TOPK, SIGN = eff.TopK(ratio=0.3), eff.BlockSign(512)
RANDOM = eff.RandomK(ratio=0.3, unbiased=False)
TIERS: dict[str, tuple[Compressor | None, Tier]] = {
    "no compressor": (None, keep_all),
    "block": (TOPK, by_blocks),
    "cluster": (TOPK, functools.partial(two_teams, team="Cluster", blocks=4)),
    "resident grid": (TOPK, functools.partial(two_teams, team="Grid", blocks=3)),
    "grid": (TOPK, functools.partial(two_teams, team="Grid", blocks=3, resident=False)),
    "lanes": (eff.BlockSign(64), block_sign_lanes),
    "segments": (SIGN, functools.partial(block_sign_segments, segment=1024)),
    "windows": (SIGN, block_sign_windows),
    "random-k": (RANDOM, functools.partial(random_k, choose=by_blocks)),
    "natural": (eff.NaturalCompression(2), natural),
}
tiers = pytest.mark.parametrize("tier", TIERS)


def passes(tier: str, dtype: torch.dtype) -> int:
    return {"grid": 7 if dtype == torch.float64 else 4, "windows": 2}.get(tier, 1)


@tiers
@pytest.mark.parametrize(
    ("dtype", "dim"),
    [*((dtype, 2049) for dtype in DTYPES), (torch.float32, 5)],
    ids=str,
)
def test_a_transition_equals_the_cpu_kernel(tier: str, dtype: torch.dtype, dim: int) -> None:
    compressor, kernels = TIERS[tier]
    problem = Step(ROWS, dim, dtype, compressor, clip=eff.ClipNorm(20.0), sums=TRANSITION)
    counters = problem.check(kernels, passes(tier, dtype))
    groups = -(-dim // 1024)
    sums = 2 * ROWS * problem.work.wide.itemsize
    assert counters.buffer("row_sums").written_bytes == sums
    if groups > 1:
        traffic = counters.buffer("group_sums")
        assert traffic.read_bytes == traffic.written_bytes == groups * sums


@tiers
@pytest.mark.parametrize(("dim", "clip"), [(5, CLIPS[1]), (2050, CLIPS[0])], ids=str)
def test_statistics_equal_the_cpu_kernel(tier: str, dim: int, clip: Any) -> None:
    compressor, kernels = TIERS[tier]
    residual = compressor is not None
    problem = Step(
        ROWS, dim, torch.float32, compressor, clip=clip, residual=residual, sums=STATISTICS
    )
    problem.check(kernels, passes(tier, torch.float32))


@dtypes
def test_statistics_of_every_dtype_equal_the_cpu_kernel(dtype: torch.dtype) -> None:
    Step(ROWS, 1030, dtype, clip=CLIPS[0], sums=STATISTICS).check(keep_all)
    Step(ROWS, 1030, dtype, TOPK, clip=CLIPS[1], sums=STATISTICS).check(by_blocks)


@dtypes
@pytest.mark.parametrize(
    ("rows", "dim", "sums"),
    [(300, 5, TRANSITION), (600, 1, STATISTICS), (33, 60, TRANSITION), (9, 512, STATISTICS)],
)
def test_short_rows_that_share_a_block_have_their_own_sums(
    dtype: torch.dtype, rows: int, dim: int, sums: int
) -> None:
    problem = Step(rows, dim, dtype, clip=eff.ClipValue(1.0), sums=sums)
    problem.check(functools.partial(keep_all, grid=2))


@dtypes
@pytest.mark.parametrize(
    "tier", ["no compressor", "resident grid", "segments", "random-k", "natural"]
)
def test_a_drift_equals_the_cpu_kernel(dtype: torch.dtype, tier: str) -> None:
    compressor, kernels = TIERS[tier]
    for dim, clip, with_delta in ((5, CLIPS[0], False), (1030, CLIPS[1], True)):
        Drift(ROWS, dim, dtype, compressor, clip, with_delta).check(kernels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_more_groups_than_one_level_holds_are_joined_in_order(dtype: torch.dtype) -> None:
    rows, groups = 2, 3 * 1024 + 5
    work: Work = Step(rows, 5, dtype, sums=STATISTICS).work
    sums, out = work.space("sums", rows * groups), work.space("joined", rows)
    arrays = work.device.arrays
    arrays["sums"][:] = np.random.default_rng(1).random(rows * groups) + 0.1
    by_row = arrays["sums"].reshape(rows, groups)
    join_groups(work, sums, rows, groups, out)
    assert arrays["joined"].tolist() == [native.canonical_sum(row) for row in by_row]
    join_groups(work, sums, rows, groups, out, limit=8.0)
    norms = np.sqrt(np.array([native.canonical_sum(row) for row in by_row], work.wide))
    assert arrays["joined"].tolist() == (work.wide.type(8) / norms).tolist()
