"""The costs of the kernels: a tier is worth having because it moves no more bytes than it must, in
few enough instructions."""

from __future__ import annotations

import functools

import pytest
import torch
from launches import (
    Tier,
    block_sign_lanes,
    block_sign_segments,
    block_sign_windows,
    keep_all,
    natural,
    random_k,
    topk_rows,
    topk_warps,
)
from library import DTYPES, bytes_moved, cost
from problems import STATISTICS, TRANSITION, Compression, Step, values

import effebm_ext as eff

FLOAT, TOPK, RANDOM = torch.float32, eff.TopK(ratio=0.1), eff.RandomK(ratio=0.1)
by_many_threads = functools.partial(topk_rows, threads=512)


def check_cost(
    problem: Step | Compression, tier: Tier, budget: float, passes: int = 1, atomics: float = 0.0
) -> None:
    """Checks the bytes moved and the instructions per element, for which `budget` is just enough.
    `atomics` is the most of their bytes, as a share of the bytes that have to be moved."""
    counters = problem.check(tier, passes)
    floor = problem.floor(passes)
    assert bytes_moved(counters) < 1.02 * floor
    assert counters.global_atomic_bytes <= atomics * floor
    assert cost(counters) / (problem.work.rows * problem.work.dim) < budget


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_step_without_compressor_is_one_pass(dtype: torch.dtype) -> None:
    # A memory-bound step of float32 on a large GPU can afford about 80.
    check_cost(Step(8, 4096, dtype), keep_all, budget=80)


@pytest.mark.parametrize("sums", [STATISTICS, TRANSITION])
def test_sums_over_rows_need_no_other_pass(sums: int) -> None:
    check_cost(Step(8, 4096, FLOAT, sums=sums), keep_all, budget=350)


def test_topk_by_warps_is_one_pass() -> None:
    check_cost(Step(16, 1000, FLOAT, TOPK), topk_warps, budget=140)


def test_topk_by_a_block_is_one_pass() -> None:
    tier = functools.partial(by_many_threads, team="SingleBlock")
    check_cost(Step(1, 55_000, FLOAT, TOPK), tier, budget=172)


def test_topk_by_clusters_is_one_pass() -> None:
    tier = functools.partial(by_many_threads, team="Cluster", blocks=8)
    check_cost(Step(2, 440_000, FLOAT, TOPK), tier, budget=176)


def test_topk_by_a_resident_grid_is_one_pass() -> None:
    tier = functools.partial(by_many_threads, team="Grid", blocks=8)  # slices of 55 296
    # However values lie, 16 blocks add to at most 2048 + 256 counters in each of 3 passes.
    check_cost(Step(2, 440_000, FLOAT, TOPK), tier, budget=172, atomics=0.05)


def test_topk_by_a_grid_is_four_passes() -> None:
    tier = functools.partial(by_many_threads, team="Grid", blocks=16, resident=False)
    problem = Compression(values(1, 1_000_000, FLOAT), TOPK)
    check_cost(problem, tier, budget=106, passes=4, atomics=0.05)


def test_random_k_by_warps_is_one_pass_and_one_over_marks() -> None:
    tier = functools.partial(random_k, choose=topk_warps)
    check_cost(Step(16, 1000, FLOAT, RANDOM), tier, budget=216)


def test_random_k_by_a_block_is_one_pass_and_one_over_marks() -> None:
    choose = functools.partial(by_many_threads, team="SingleBlock")
    check_cost(Step(1, 55_000, FLOAT, RANDOM), functools.partial(random_k, choose=choose), 235)


def test_natural_compression_is_one_pass() -> None:
    check_cost(Step(8, 4096, FLOAT, eff.NaturalCompression()), natural, budget=130)


def test_block_sign_in_lanes_is_one_pass() -> None:
    check_cost(Step(8, 4096, FLOAT, eff.BlockSign(64)), block_sign_lanes, budget=96)


def test_block_sign_by_segments_is_one_pass() -> None:
    tier = functools.partial(block_sign_segments, segment=6144)
    check_cost(Step(1, 49_152, FLOAT, eff.BlockSign(3072)), tier, budget=220)


def test_block_sign_by_windows_is_two_passes() -> None:
    problem = Compression(values(1, 1_100_000, FLOAT), eff.BlockSign(1_100_000))
    check_cost(problem, block_sign_windows, budget=127, passes=2)
