"""Top-k by a warp, a thread block, a cluster, and parts of a grid: the bits of the CPU kernel, from
one pass over memory where the row stays in shared memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from calls import Call, compression, step, values
from device import Machine
from library import DTYPES
from tables import TOPK_TIERS, Tier

import effebm_ext as eff

dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
tiers = pytest.mark.parametrize("tier", TOPK_TIERS)
LIMITS: dict[str, Any] = {"clip": eff.ClipValue(1.5), "bounds": (-1.0, 1.25)}
ROWS = 5  # two teams take them in turn, so that one of them has none in the end
WARP = Tier(None, "topk_warps")


def check(call: Call, tier: Tier) -> None:
    machine = tier.machine(call.compute, has_sums=False)
    passes = tier.passes_of(call.compute)
    tier.check_launched(call.check(machine, passes))


def dims_of(tier: str) -> tuple[int, int]:
    """Returns rows for slices of one tile, the last of them short or, in a cluster, empty."""
    return (2500, 4100) if tier == "grid" else (1030, 2500)


@dtypes
@pytest.mark.parametrize("which", [0, 1])
@tiers
def test_a_step_of_teams_equals_the_cpu_kernel(tier: str, dtype: torch.dtype, which: int) -> None:
    dim = dims_of(tier)[which]
    call = step(ROWS, dim, dtype, eff.TopK(ratio=0.3), residual=True, **LIMITS)
    check(call, TOPK_TIERS[tier])


@dtypes
@tiers
def test_compression_by_teams_equals_the_cpu_kernel(dtype: torch.dtype, tier: str) -> None:
    call = compression(values(ROWS, dims_of(tier)[0], dtype), eff.TopK(ratio=0.3))
    check(call, TOPK_TIERS[tier])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@tiers
def test_teams_of_many_threads_equal_the_cpu_kernel(dtype: torch.dtype, tier: str) -> None:
    chosen = TOPK_TIERS[tier]
    if chosen.elements:  # tiles are longer
        chosen = chosen._replace(elements=2 * chosen.elements)
    check(step(2, 8300, dtype, eff.TopK(ratio=0.3), bounds=eff.Reflect(-1.0, 1.25)), chosen)


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
@tiers
def test_the_first_of_equals_are_kept_across_slices(dtype: torch.dtype, tier: str) -> None:
    dim = dims_of(tier)[1]
    for k in (1, 1500):
        check(compression(hard_rows(dim, dtype), eff.TopK(k)), TOPK_TIERS[tier])


@dtypes
@pytest.mark.parametrize("dim", [5, 256, 257, 1000, 1024])
def test_a_step_of_warps_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    """16 warps take the rows in turn."""
    call = step(19, dim, dtype, eff.TopK(ratio=0.3), residual=True, **LIMITS)
    WARP.check_launched(call.check(Machine(most_blocks=2)))


@dtypes
@pytest.mark.parametrize("dim", [5, 250, 1000])
def test_compression_by_warps_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    for k in (1, dim // 2, dim - 1):
        check(compression(hard_rows(dim, dtype), eff.TopK(k)), WARP)
