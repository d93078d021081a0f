"""The kernels of the perturbed pair against the CPU kernel: equal bits, one pass over memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from library import THREADS, Device, PerturbParams, compiled
from ptx_simulator import launch

import effebm_ext as eff

KEY = eff.Key(-7, offset=2**33 + 1, first_chain=2**31)
RADIUS, GROUP = 0.3, 1024


@pytest.mark.parametrize("dim", [5, 1024, 2052])
def test_the_pair_equals_the_cpu_kernel(dim: int) -> None:
    x = torch.randn(3, dim, generator=torch.Generator().manual_seed(dim))
    noise_std = torch.tensor([0.5, 0.0, 2.0])
    want = eff.perturbed_pair(x, RADIUS, noise_std=noise_std, rng=KEY)
    groups = -(-dim // GROUP)
    device = Device(x=x, out=torch.zeros(2, 3, dim), noise_dot=torch.zeros(3),
                    key=torch.tensor([KEY.seed, 0]), noise_stds=noise_std,
                    sums=torch.zeros(3, groups), squares=torch.zeros(3))  # fmt: skip
    at = device.pointers()
    sums, squares = np.uint64(at.pop("sums")), np.uint64(at.pop("squares"))
    params = PerturbParams(rows=3, dim=dim, offset=KEY.offset, first_chain=KEY.first_chain,
                           radius=RADIUS, noise_stds_stride=1, **at)  # fmt: skip
    kernels, whole_quads = compiled("perturb"), dim % 4 == 0

    def run(name: str, grid: int, *arguments: object):  # type: ignore[no-untyped-def]
        kernel = kernels.find(f"{name}<float")
        return launch(kernel, grid, THREADS, list(arguments), buffers=device.arrays)

    def join(out: np.uint64) -> None:
        run("join_groups", 3, sums, np.int64(3), np.int64(groups), out, np.uint8(0))

    if groups == 1:
        nothing, dots = np.uint64(0), np.uint64(params.noise_dot)
        counters = run("perturb_groups", 1, params, nothing, dots, whole_quads)
    else:
        run("direction_squares", 2, params, sums)
        join(squares)
        counters = run("perturb_groups", 2, params, squares, sums, whole_quads)
        join(np.uint64(params.noise_dot))
    assert device.holds("out", want.x)
    assert device.holds("noise_dot", want.noise_dot)

    state, out = counters.buffer("x"), counters.buffer("out")
    assert (state.read_bytes, state.written_bytes) == (x.nbytes, 0)
    assert (out.read_bytes, out.written_bytes) == (0, 2 * x.nbytes)
    assert counters.global_written_bytes == 2 * x.nbytes + 4 * 3 * groups  # and products
    if whole_quads:
        assert set(state.load_widths) == set(out.store_widths) == {16}
