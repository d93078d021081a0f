"""The kernel of uniform numbers against the CPU kernel: equal bits, each written once."""

from __future__ import annotations

import pytest
import torch
from device import on_device, ptx_device

from effebm_ext.rng import ACCEPTANCE

FIRST_CHAIN = 2**31 - 3


@pytest.mark.parametrize("n", [1, 255, 256, 257])
def test_the_numbers_equal_those_of_the_cpu_kernel(n: int) -> None:
    key = torch.tensor([-7, 2**33 + 1])
    uniforms = torch.ops.effebm.uniforms
    want = uniforms(key, 5, FIRST_CHAIN, n, ACCEPTANCE)
    there = on_device(key)
    with ptx_device() as device:
        got = uniforms(there, 5, FIRST_CHAIN, n, ACCEPTANCE)
    assert got.numpy().tobytes() == want.numpy().tobytes()
    (launch,) = device.launches
    assert launch.function == "uniforms"
    assert launch.grid[0] == (n + 255) // 256
    assert launch.counters.global_written_bytes == 8 * n
