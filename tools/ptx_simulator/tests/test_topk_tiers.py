"""Top-k of rows that share a warp, and of rows in the registers of a warp or a block: the bits of
the CPU kernel, from one pass over memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from calls import compression, step, values
from library import DTYPES
from tables import HELD

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
LIMITS: dict[str, Any] = {"clip": eff.ClipValue(1.5), "bounds": (-1.0, 1.25)}
# Rows, and the threads that share one; the last warps and blocks of a grid have rows too few.
ROWS = {
    5: (300, 2), 13: (70, 2), 64: (19, 2), 65: (19, 4), 250: (19, 8), 300: (9, 16), 512: (9, 16),
    520: (9, 32), 1030: (3, 64), 3072: (2, 96),
}  # fmt: skip
dims = pytest.mark.parametrize("dim", ROWS)


@dtypes
@dims
def test_a_step_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    rows, threads = ROWS[dim]
    call = step(rows, dim, dtype, eff.TopK(ratio=0.3), residual=True, **LIMITS)
    assert call.tier == HELD
    (launch,) = call.check()
    threads = max(256, threads) if threads <= 32 else threads
    assert launch.block == (threads, 1, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_other_options_equal_the_cpu_kernel(dtype: torch.dtype) -> None:
    topk = eff.TopK(ratio=0.1)
    for dim in (64, 1000):
        step(3, dim, dtype, topk).check()
        step(3, dim, dtype, topk, clip=eff.ClipNorm(9.0), bounds=eff.Reflect(-1.0, 1.25)).check()
        step(3, dim, dtype, topk, per_chain=True, residual=True).check(shift=1)


def hard_rows(dim: int, dtype: torch.dtype) -> torch.Tensor:
    """Makes rows of one magnitude, zeros, infinities and negative zeros, denormals, few values,
    numbers of all magnitudes, NaN."""
    x = values(7, dim, dtype)
    x[0] = x[0].sign() + (x[0] == 0)
    x[1] = 0
    x[2, ::5], x[2, 1::5] = -torch.inf, -0.0
    x[3] *= torch.finfo(dtype).smallest_normal / 4
    x[4] = x[4].round()
    x[5] = torch.exp2(torch.linspace(-14, 14, dim)).flip(0)
    if dtype.itemsize > 2:  # devices write those of 16 bits with other bits
        x[6, ::4] = torch.nan
    return x


@dtypes
@dims
def test_compression_of_hard_rows_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    for k in {1, dim // 10, dim // 2, dim - 1} - {0}:
        compression(hard_rows(dim, dtype), eff.TopK(k)).check()


@dtypes
def test_the_longest_rows_in_registers_equal_the_cpu_kernel(dtype: torch.dtype) -> None:
    for dim in (8192, 8191) if dtype == torch.float64 else (16_384, 16_381):
        call = step(1, dim, dtype, eff.TopK(ratio=0.3), bounds=eff.Reflect(-1.0, 1.25))
        assert call.tier == HELD
        call.check()
