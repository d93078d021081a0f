"""The kernels of log ratios and of acceptance against the CPU kernels: equal bits, each written
once."""

from __future__ import annotations

import pytest
import torch
from device import on_device, ptx_device

FIRST_CHAIN = 2**31 - 3
ENERGY_DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def energies(n: int, dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
    values = torch.randn(n, generator=generator, dtype=torch.float64)
    special = torch.tensor([torch.inf, -torch.inf, torch.nan], dtype=torch.float64)
    values[::5] = special.repeat(n)[: len(values[::5])]
    return values.to(dtype)


@pytest.mark.parametrize("sums_dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", ENERGY_DTYPES)
def test_log_ratios_equal_those_of_the_cpu_kernel(
    dtype: torch.dtype, sums_dtype: torch.dtype
) -> None:
    n, generator = 257, torch.Generator().manual_seed(1)
    tensors = [energies(n, dtype, generator) for _ in range(2)]
    sums = torch.randn(2, n, 2, generator=generator, dtype=torch.float64).to(sums_dtype)
    tensors += [sums[0].clone(), sums[1].clone()]
    want = torch.ops.effebm.log_ratio(*tensors, 0.3)
    there = [on_device(t) for t in tensors]
    with ptx_device() as device:
        got = torch.ops.effebm.log_ratio(*there, 0.3)
    torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)
    (launch,) = device.launches
    assert launch.function == "write_log_ratios"
    assert launch.counters.global_written_bytes == 8 * n


@pytest.mark.parametrize("dtype", ENERGY_DTYPES)
@pytest.mark.parametrize(("event", "shift"), [((), 0), ((3,), 0), ((8,), 0), ((8,), 1), ((0,), 0)])
@pytest.mark.parametrize("x_dtype", [torch.float32, torch.float64])
def test_chains_after_acceptance_equal_the_cpu_kernels(
    dtype: torch.dtype, event: tuple[int, ...], shift: int, x_dtype: torch.dtype
) -> None:
    n, generator = 130, torch.Generator().manual_seed(2)
    log_ratio = torch.randn(n, generator=generator, dtype=torch.float64)
    log_ratio[::7] *= 300
    log_ratio[3], log_ratio[4] = -torch.inf, torch.nan
    before, after = (energies(n, dtype, generator) for _ in range(2))
    rows = [torch.randn(n, *event, generator=generator, dtype=x_dtype) for _ in range(4)]
    rest = (torch.tensor([-7, 2**33 + 1]), 5, FIRST_CHAIN)
    metropolis_ = torch.ops.effebm.metropolis_
    there = [on_device(t) for t in (log_ratio, before, after)]
    there_rows = [on_device(t, shift) for t in rows]
    want = metropolis_(log_ratio, before, after, *rows, *rest)
    with ptx_device() as device:
        got = metropolis_(*there, *there_rows, on_device(rest[0]), *rest[1:])
    for a, b in zip([*got, *there_rows], [*want, *rows], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    (launch,) = device.launches
    assert launch.function == "decide_rows"
    per_row = rows[0][0].nbytes * 2
    rejected = int((want[1] == 0).sum())  # at least
    written = launch.counters.global_written_bytes - n * (8 + before.element_size())
    assert rejected * per_row <= written < n * per_row or per_row == 0 == written
