"""Top-k of rows too long for registers: the bits of the CPU kernel whatever the sample of a row
says, from two passes and the sample where it says enough."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from calls import compression, step
from device import Launch
from library import DTYPES
from tables import LONG, LONG_TILE, compute_type, samples

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
LIMITS: dict[str, Any] = {"clip": eff.ClipValue(1.5), "bounds": (-1.0, 1.25)}
TOPK = eff.TopK(ratio=0.1)


def read_again(launches: list[Launch], name: str = "x") -> int:
    """Returns how many elements the search reads after the samples and the first pass."""
    (select,) = (one for one in launches if one.function == "select_from_lists")
    return select.counters.buffer(name).read_bytes // select.buffers[name].itemsize


@dtypes
@pytest.mark.parametrize("dim", [16_500, 40_001])
def test_a_step_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    for options in ({}, {"residual": True, **LIMITS}):
        call = step(2, dim, dtype, TOPK, **options)
        assert call.tier == LONG
        launches = call.check()
        assert read_again(launches, "grad") <= 2 * LONG_TILE  # to cut ties


def test_rows_just_too_long_for_registers_equal_the_cpu_kernel() -> None:
    for dim, dtype in ((8193, torch.float64), (16_385, torch.float32)):
        call = step(2, dim, dtype, TOPK, residual=True, clip=eff.ClipNorm(50.0))
        assert call.tier == LONG
        call.check()


def test_rows_of_many_samples_equal_the_cpu_kernel() -> None:
    x = torch.randn(1, (1 << 19) + 3, generator=torch.Generator().manual_seed(0))
    assert read_again(compression(x, eff.TopK(ratio=0.01)).check()) == 0


def rows_of_ties(dim: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    normal = torch.randn(1, dim, generator=torch.Generator().manual_seed(0)).to(dtype)
    order = torch.randperm(dim, generator=torch.Generator().manual_seed(0))
    spread = torch.exp2(torch.linspace(-14, 14, dim))[None, order].to(dtype)
    rows = {
        "all equal": torch.full_like(normal, -0.75),
        "zeros": torch.zeros_like(normal),
        "two values": 1 + (normal > 0.3).to(dtype),
        "few values": normal.round(),
        "one that is not zero": torch.zeros_like(normal).index_fill(1, torch.tensor(dim - 2), 3),
        "half of them zeros": normal * (normal > 0),
        "infinities": normal.masked_fill(normal > 1.5, -torch.inf),
        "denormals": normal * (torch.finfo(dtype).smallest_normal / 4),
        "in order": spread.sort().values,
        "of all magnitudes": spread,
    }
    if dtype.itemsize > 2:  # devices write those of 16 bits with other bits
        rows["few NaN"] = normal.masked_fill(normal > 2.5, torch.nan)
        rows["many NaN"] = normal.masked_fill(normal > -0.5, torch.nan)
        rows["NaN only"] = torch.full_like(normal, torch.nan)
    return rows


@dtypes
@pytest.mark.parametrize("k", [1, 4001, 20_000, 40_000])
def test_ties_and_outliers_equal_the_cpu_kernel(dtype: torch.dtype, k: int) -> None:
    x = torch.cat(list(rows_of_ties(40_001, dtype).values()))
    compression(x, eff.TopK(k)).check()


def scramble(v: np.ndarray) -> np.ndarray:
    """scramble() of long_rows.cuh."""
    with np.errstate(over="ignore"):
        v = (v ^ v >> 16) * np.uint32(0x85EBCA6B)
        v = (v ^ v >> 13) * np.uint32(0xC2B2AE35)
    return v ^ v >> 16


def sampled(row: int, dim: int, compute: torch.dtype, rounds: int) -> np.ndarray:
    """Returns which elements of a row the samples of so many rounds have."""
    quads = -(-dim // 4)
    chosen = np.zeros((quads, 4), dtype=bool)
    for number in range(rounds):
        count = samples(dim, compute, again=number > 0)
        of_round = scramble(np.uint32(row) + scramble(np.uint32(number)))
        words = scramble(np.arange(count // 4, dtype=np.uint32) + of_round)
        chosen[(words.astype(np.uint64) * np.uint64(quads)) >> np.uint64(32)] = True
    return chosen.ravel()[:dim]


def misleading(dim: int, dtype: torch.dtype, factor: float, rounds: int) -> torch.Tensor:
    """Makes rows of normals; those of the samples of so many rounds are multiplied."""
    x = torch.randn(2, dim, generator=torch.Generator().manual_seed(1))
    compute = compute_type(dtype)
    for row in range(len(x)):
        x[row, torch.from_numpy(sampled(row, dim, compute, rounds))] *= factor
    return x.to(dtype)


@dtypes
@pytest.mark.parametrize("factor", [0.0, 0.01, 100.0])
def test_a_sample_that_misleads_costs_another_pass(dtype: torch.dtype, factor: float) -> None:
    for dim, k in ((16_500, 400), (40_001, 8000)):
        again = read_again(
            compression(misleading(dim, dtype, factor, 1), eff.TopK(k)).check(again=1)
        )
        assert again >= 2 * dim


@pytest.mark.parametrize("factor", [0.0, 1e-3, 1e3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_samples_that_mislead_again_and_again(dtype: torch.dtype, factor: float) -> None:
    x = misleading(40_001, dtype, factor, 3)
    assert read_again(compression(x, eff.TopK(2000)).check(again=64)) >= 2 * x.numel()


def test_a_list_that_overflows_costs_another_pass() -> None:
    """The sample is spread, so that the bracket is wide; the other keys are all inside it."""
    for dtype in (torch.float32, torch.float64):
        generator, dim = torch.Generator().manual_seed(2), 40_001
        x = 1 + 0.001 * torch.randn(1, dim, generator=generator)
        seen = torch.from_numpy(sampled(0, dim, compute_type(dtype), 1))
        x[0, seen] = 2 * torch.rand(int(seen.sum()), generator=generator)
        calls = compression(x.to(dtype), eff.TopK(dim // 2)).check(again=1)
        assert read_again(calls) >= x.numel()


@pytest.mark.parametrize("ratio", [0.5, 0.7, 0.9])
def test_rows_that_keep_most_take_no_other_pass(ratio: float) -> None:
    x = torch.randn(1, 120_000, generator=torch.Generator().manual_seed(3))
    assert read_again(compression(x, eff.TopK(ratio=ratio)).check()) == 0
