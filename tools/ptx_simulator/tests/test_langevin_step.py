"""The kernels of the Langevin step against the CPU kernels: equal bits, and what they cost in
global memory and instructions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from library import (
    DTYPES,
    NAMESPACE,
    ROWS,
    THREADS,
    Blocks,
    Device,
    StepParams,
    compiled,
    resident_row,
)
from ptx_simulator import Module, launch

import effebm_ext as eff
from effebm_ext import _C

KEY = eff.Key(-7, offset=2**33 + 1, first_chain=2**31)
STEP, LIMIT, LOWER, UPPER = 0.3, 1.5, -1.0, 1.25
TILE = 1024
COMPRESSORS = [
    None,
    eff.TopK(ratio=0.3),
    eff.BlockSign(48),
    eff.BlockSign(1025),
    "block offsets",
]


@pytest.fixture(scope="module")
def steps() -> Module:
    return compiled("langevin_step")


def run_step(module: Module, params: StepParams, dtype, arrays, sums: bool, resident: bool):  # type: ignore[no-untyped-def]
    """What launch_langevin_step does; the counters of the step itself."""
    name, rows, dim = DTYPES[dtype], params.rows, params.dim
    groups = -(-dim // TILE)
    wide = np.float64 if dtype == torch.float64 else np.float32
    workspace = {
        "norm_scales": np.zeros(rows, wide),
        "group_sums": np.zeros((rows, 2, groups), wide),
    }
    buffers = arrays | workspace
    if params.clip == _C.CLIP_NORM:
        params.norm_scales = workspace["norm_scales"].ctypes.data
        launch(module.find("norm_scales", f"<{name}>"), rows, THREADS, [params], buffers=buffers)
    params.group_sums = workspace["group_sums"].ctypes.data
    row = f"StepRow<{name}, {str(sums).lower()}>"
    vector, grid, held = dim % 4 == 0, rows, 0
    if resident:
        row, held = resident_row(row), -(-dim // 4) * 4 * np.dtype(wide).itemsize
    if params.compressor == _C.COMPRESSOR_NONE:
        kernel = module.find("plain_tiles", f"<{name}, {str(sums).lower()}>")
        arguments, grid = [params, np.int64(groups), vector], rows * groups
    elif params.compressor == _C.COMPRESSOR_TOPK:
        kernel = module.find(f"topk_rows<{NAMESPACE}{row}")
        arguments = [params, np.int64(params.compressor_size), vector]
    else:
        kernel = module.find(f"block_sign_rows<{NAMESPACE}{row}")
        blocks = Blocks(dim, params.compressor_size, params.block_offsets, params.n_blocks)
        arguments = [params, blocks, vector]
    counters = launch(kernel, grid, THREADS, arguments, buffers=buffers, dynamic_shared=held)
    if sums:
        pointers = [np.uint64(params.group_sums), np.int64(groups), np.uint64(params.row_sums)]
        sum_groups = module.find("sum_groups", f"<{'double' if wide is np.float64 else 'float'}>")
        launch(sum_groups, 2 * rows, THREADS, pointers, buffers=buffers)
    return counters


def step_params(compressor, x, device, **options):  # type: ignore[no-untyped-def]
    params = StepParams(rows=len(x), dim=x[0].numel(), **device.pointers(), **options)
    if compressor is not None:
        params.compressor, params.compressor_size, offsets = compressor.kernel_arguments(x)
        if offsets is not None:
            params.n_blocks = len(offsets) - 1
    return params


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [5, 1024, 1030])
@pytest.mark.parametrize("compressor", COMPRESSORS, ids=str)
@pytest.mark.parametrize("resident", [False, True])
def test_step_equals_the_cpu_kernel(steps: Module, dtype, dim, compressor, resident) -> None:  # type: ignore[no-untyped-def]
    resident = resident and compressor is not None
    generator = torch.Generator().manual_seed(dim)
    x, grad, residual = (torch.randn(ROWS, dim, generator=generator).to(dtype) for _ in range(3))
    residual = residual.to(torch.float64 if dtype == torch.float64 else torch.float32)
    grad[:, ::3] = grad[:, ::3].round()  # ties, and zeros
    offsets = torch.tensor(sorted({0, 1, 4, dim // 2, dim}))
    if compressor == "block offsets":
        compressor = eff.BlockSign(block_offsets=offsets.tolist())
    device = Device(x=x, grad=grad, residual=residual, key=torch.tensor([KEY.seed, 0]),
                    drift=torch.zeros_like(residual), block_offsets=offsets,
                    row_sums=torch.zeros(ROWS, 2, dtype=residual.dtype))  # fmt: skip
    params = step_params(
        compressor, x, device, out=device.pointers()["x"], offset=KEY.offset,
        first_chain=KEY.first_chain, step_size=STEP, clip=1, clip_limit=LIMIT, bounds=1,
        lower=LOWER, upper=UPPER,
    )  # fmt: skip
    if not isinstance(compressor, eff.BlockSign) or compressor.block_offsets is None:
        params.block_offsets = 0
    if compressor is None:
        params.residual = 0
    params.drift = 0
    counters = run_step(steps, params, dtype, device.arrays, sums=False, resident=resident)

    options = {"compressor": compressor, "clip": eff.ClipValue(LIMIT), "bounds": (LOWER, UPPER)}
    memory = None if compressor is None else residual
    eff.langevin_step_(x, grad, STEP, residual=memory, rng=KEY, **options)
    assert device.holds("x", x)
    if memory is not None:
        assert device.holds("residual", residual)
    written = sum(t.numel() * t.element_size() for t in (x, memory) if t is not None)
    assert counters.global_written_bytes == written
    if resident:  # one pass
        assert counters.buffer("grad").read_bytes == grad.numel() * grad.element_size()
        assert counters.buffer("residual").read_bytes == residual.nbytes
    if dim % 4 == 0:
        width = min(16, 4 * x.element_size())
        assert set(counters.buffer("x").store_widths) == {width}
        assert set(counters.buffer("x").load_widths) == {width}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [5, 1024, 2049])
@pytest.mark.parametrize("compressor", COMPRESSORS[:3], ids=str)
@pytest.mark.parametrize("resident", [False, True])
def test_a_transition_equals_the_cpu_kernel(
    steps: Module, dtype, dim, compressor, resident
) -> None:  # type: ignore[no-untyped-def]
    resident = resident and compressor is not None
    x, grad = (torch.randn(2, dim, generator=torch.Generator().manual_seed(s)) for s in (dim, 1))
    x, grad = x.to(dtype), grad.to(dtype)
    want = eff.langevin_transition(
        x, grad, STEP, compressor=compressor, clip=eff.ClipNorm(LIMIT), rng=KEY
    )
    sums = torch.zeros(2, 2, dtype=want.drift.dtype)
    device = Device(x=x, grad=grad, out=torch.zeros_like(x), key=torch.tensor([KEY.seed, 0]),
                    drift=torch.zeros_like(want.drift), row_sums=sums)  # fmt: skip
    params = step_params(
        compressor, x, device, row_sums_of=_C.ROW_SUMS_TRANSITION, offset=KEY.offset,
        first_chain=KEY.first_chain, step_size=STEP, clip=_C.CLIP_NORM, clip_limit=LIMIT,
    )  # fmt: skip
    counters = run_step(steps, params, dtype, device.arrays, sums=True, resident=resident)
    assert device.holds("out", want.x)
    assert device.holds("drift", want.drift)
    assert device.holds("row_sums", torch.stack([want.drift_dot_delta, want.drift_sq], dim=1))
    # Every tensor once: the sums take nothing but those of the groups.
    n, groups = x.numel(), 2 * 2 * -(-dim // TILE)
    wide = want.drift.element_size()
    assert counters.global_written_bytes == n * (x.element_size() + wide) + groups * wide
    assert counters.buffer("x").read_bytes == n * x.element_size()


@pytest.mark.parametrize("dim", [5, 1030])
def test_statistics_equal_the_cpu_kernel(steps: Module, dim: int) -> None:
    compressors = [(None, False), (eff.TopK(2), False), (eff.TopK(2), True)]
    for (compressor, resident), clip in itertools.product(
        compressors, [eff.ClipValue(LIMIT), eff.ClipNorm(LIMIT)]
    ):
        x, grad = (torch.randn(2, dim, generator=torch.Generator().manual_seed(s)) for s in (2, 3))
        device = Device(x=x, grad=grad, key=torch.tensor([KEY.seed, 0]), row_sums=torch.zeros(2, 2))
        params = step_params(
            compressor, x, device, row_sums_of=_C.ROW_SUMS_STATISTICS, offset=KEY.offset,
            first_chain=KEY.first_chain, step_size=STEP, clip_limit=LIMIT,
            clip=_C.CLIP_VALUE if isinstance(clip, eff.ClipValue) else _C.CLIP_NORM,
            out=device.pointers()["x"],
        )  # fmt: skip
        counters = run_step(
            steps, params, torch.float32, device.arrays, sums=True, resident=resident
        )
        statistics = torch.empty(2, 2)
        eff.langevin_step_(
            x, grad, STEP, compressor=compressor, clip=clip, statistics=statistics, rng=KEY
        )
        assert device.holds("x", x)
        assert device.holds("row_sums", statistics)
        if compressor is None or resident:
            assert counters.buffer("grad").read_bytes == grad.nbytes


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("dim", "quads"), [(5, 2), (256, 2), (257, 8), (1000, 8)])
def test_rows_of_warps_equal_the_cpu_kernel(steps: Module, dtype, dim, quads) -> None:  # type: ignore[no-untyped-def]
    x, grad = (torch.randn(11, dim, generator=torch.Generator().manual_seed(s)) for s in (dim, 1))
    x, grad = x.to(dtype), grad.to(dtype)
    grad[:4] = grad[:4].round()  # ties that are cut, and zeros
    device = Device(x=x, grad=grad, key=torch.tensor([KEY.seed, 0]))
    compressor = eff.TopK(ratio=0.3)
    params = step_params(
        compressor, x, device, out=device.pointers()["x"], offset=KEY.offset,
        first_chain=KEY.first_chain, step_size=STEP,
    )  # fmt: skip
    row = f"topk_warps<{NAMESPACE}StepRow<{DTYPES[dtype]}, false>"
    kernel = steps.find(row, f"{NAMESPACE}StepParams, {quads}>")
    arguments = [params, np.int64(params.compressor_size), dim % 4 == 0]
    held = 8 * quads * 128 * (8 if dtype == torch.float64 else 4)
    counters = launch(kernel, 2, THREADS, arguments, buffers=device.arrays, dynamic_shared=held)
    eff.langevin_step_(x, grad, STEP, compressor=compressor, rng=KEY)
    assert device.holds("x", x)
    size = x.numel() * x.element_size()
    assert counters.buffer("grad").read_bytes == counters.buffer("x").read_bytes == size
    assert counters.global_written_bytes == size


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("dim", "block_size"), [(5, 1000), (128, 4), (300, 64), (301, 128)])
def test_blocks_of_lanes_equal_the_cpu_kernel(steps: Module, dtype, dim, block_size) -> None:  # type: ignore[no-untyped-def]
    x, grad = (torch.randn(3, dim, generator=torch.Generator().manual_seed(s)) for s in (dim, 1))
    x, grad = x.to(dtype), grad.to(dtype)
    grad[:, ::3] = grad[:, ::3].round()  # zeros
    device = Device(x=x, grad=grad, key=torch.tensor([KEY.seed, 0]))
    compressor = eff.BlockSign(block_size)
    params = step_params(
        compressor, x, device, out=device.pointers()["x"], offset=KEY.offset,
        first_chain=KEY.first_chain, step_size=STEP,
    )  # fmt: skip
    kernel = steps.find(f"block_sign_lanes<{NAMESPACE}StepRow<{DTYPES[dtype]}, false>")
    lanes = 2 if block_size > dim else block_size // 4
    arguments = [params, np.int32(lanes), dim % 4 == 0]
    counters = launch(kernel, 2, THREADS, arguments, buffers=device.arrays)
    eff.langevin_step_(x, grad, STEP, compressor=compressor, rng=KEY)
    assert device.holds("x", x)
    size = x.numel() * x.element_size()
    assert counters.buffer("grad").read_bytes == counters.buffer("x").read_bytes == size
    assert counters.global_written_bytes == size


def test_the_plain_step_is_one_pass_over_memory(steps: Module) -> None:
    dim = 4096
    x = torch.zeros(2, dim)
    device = Device(x=x, grad=torch.ones(2, dim), key=torch.zeros(2, dtype=torch.int64))
    params = step_params(None, x, device, out=device.pointers()["x"], step_size=0.1)
    counters = run_step(steps, params, torch.float32, device.arrays, sums=False, resident=False)
    n = 2 * dim
    state, grad = counters.buffer("x"), counters.buffer("grad")
    assert (state.read_bytes, state.written_bytes, grad.read_bytes) == (4 * n, 4 * n, 4 * n)
    # 124 when this was written. A memory-bound step on a large GPU can afford about 80.
    assert sum(counters.instructions.values()) / n < 125
