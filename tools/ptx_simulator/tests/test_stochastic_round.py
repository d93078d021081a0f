"""The kernel of stochastic rounding against the CPU kernel: equal bits, each number read and
written once."""

from __future__ import annotations

import pytest
import torch
from device import on_device, ptx_device

from effebm_ext.rng import STORAGE

FIRST_CHAIN = 2**31 - 3
DTYPES = [torch.bfloat16, torch.float16, torch.float8_e5m2, torch.uint8]
SPECIAL = [0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1e-7, -3e-5, 65504.0, 7e4, 3.4e38, 1e-40]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 3), (5, 264), (3, 1021)], ids=str)
def test_the_bits_equal_those_of_the_cpu_kernel(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    n = min(x.numel(), len(SPECIAL))
    x.view(-1)[:n] = torch.tensor(SPECIAL[:n])
    key = torch.tensor([-7, 2**33 + 1])
    arguments = 5, FIRST_CHAIN, STORAGE, -1.5, 2.0
    want = torch.empty(shape, dtype=dtype)
    torch.ops.effebm.stochastic_round(x, want, key, *arguments)
    there, got, key = on_device(x), on_device(torch.empty(shape, dtype=dtype)), on_device(key)
    with ptx_device() as device:
        torch.ops.effebm.stochastic_round(there, got, key, *arguments)
    nan = want.float().isnan()
    assert torch.equal(got.float().isnan(), nan)
    assert torch.equal(got.float()[~nan], want.float()[~nan])
    assert torch.equal(torch.signbit(got.float())[~nan], torch.signbit(want.float())[~nan])
    (launch,) = device.launches
    vectors = shape[1] % 8 == 0
    threads = shape[0] * -(-shape[1] // (8 if vectors else 4))
    assert launch.grid[0] == -(-threads // 256)
    assert launch.counters.global_written_bytes == x.numel() * dtype.itemsize
    assert launch.counters.global_read_bytes == 4 * x.numel() + 16 * threads
