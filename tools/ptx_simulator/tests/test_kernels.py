"""The library's CUDA kernels as nvcc compiles them, against the CPU kernels: equal bits, and what
they cost in global memory and instructions."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np
import pytest
from ptx_simulator import Module, compile_ptx, device_copy, find_nvcc, launch, load

torch = pytest.importorskip("torch")
eff = pytest.importorskip("effebm_ext")

CUDA = Path(__file__).resolve().parents[3] / "csrc" / "cuda"
THREADS = 256
DTYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.bfloat16: "effebm::baseline::core::bfloat16",
    torch.float16: "effebm::baseline::core::float16",
}
ROWS = 3
KEY = eff.Key(-7, offset=2**33 + 1, first_chain=2**31)
STEP, LIMIT, LOWER, UPPER = 0.3, 1.5, -1.0, 1.25


class Params(ctypes.Structure):
    """LangevinStepParams of csrc/core/langevin_step.h."""

    _fields_ = (
        *[("dtype", ctypes.c_int), ("rows", ctypes.c_int64), ("dim", ctypes.c_int64)],
        *[(name, ctypes.c_uint64) for name in ("x", "out", "grad", "residual", "key")],
        *[("offset", ctypes.c_int64), ("first_chain", ctypes.c_int64)],
        *[("step_size", ctypes.c_double), ("step_sizes", ctypes.c_uint64)],
        *[("step_sizes_stride", ctypes.c_int64), ("has_noise_std", ctypes.c_bool)],
        *[("noise_std", ctypes.c_double), ("noise_stds", ctypes.c_uint64)],
        *[("noise_stds_stride", ctypes.c_int64), ("compressor", ctypes.c_int)],
        *[("compressor_size", ctypes.c_int64), ("clip", ctypes.c_int)],
        *[("clip_limit", ctypes.c_double), ("bounds", ctypes.c_int)],
        *[("lower", ctypes.c_double), ("upper", ctypes.c_double)],
    )


class CompressParams(ctypes.Structure):
    """TopkParams and BlockSignParams of csrc/core."""

    _fields_ = (
        *[("dtype", ctypes.c_int), ("rows", ctypes.c_int64), ("dim", ctypes.c_int64)],
        *[("size", ctypes.c_int64), ("x", ctypes.c_uint64), ("out", ctypes.c_uint64)],
    )


@functools.cache
def compiled(name: str) -> Module:
    if find_nvcc() is None:
        pytest.skip("nvcc is not installed, so there is no PTX to simulate")
    return load(compile_ptx(CUDA / f"{name}.cu"))


@pytest.fixture(scope="module")
def steps() -> Module:
    return compiled("langevin_step")


def kernel_of(module: Module, compressor, dtype, row="StepRow"):  # type: ignore[no-untyped-def]
    if compressor is None:
        return module.find("plain_tiles", f"<{DTYPES[dtype]}>")
    name = "topk_rows" if isinstance(compressor, eff.TopK) else "block_sign_rows"
    return module.find(name, f"{row}<{DTYPES[dtype]}>")


def array_of(t):  # type: ignore[no-untyped-def]
    """A tensor's bits as an array."""
    return t.view(torch.int16).numpy() if t.element_size() == 2 else t.numpy()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [5, 1024, 1030])
@pytest.mark.parametrize(
    "compressor", [None, eff.TopK(ratio=0.3), eff.BlockSign(48), eff.BlockSign(1025)], ids=str
)
def test_step_equals_the_cpu_kernel(steps: Module, dtype, dim, compressor) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(dim)
    x, grad, residual = (torch.randn(ROWS, dim, generator=generator).to(dtype) for _ in range(3))
    residual = residual.to(torch.float64 if dtype == torch.float64 else torch.float32)
    grad[:, ::3] = grad[:, ::3].round()  # ties, and zeros
    vector = dim % 4 == 0
    arrays = {
        "x": device_copy(array_of(x)),
        "grad": device_copy(array_of(grad)),
        "residual": device_copy(residual.numpy()),
        "key": device_copy(np.array([KEY.seed, 0], np.int64)),
    }
    code, size = (0, 0) if compressor is None else compressor.kernel_arguments(dim)
    pointers = {name: array.ctypes.data for name, array in arrays.items()}
    params = Params(
        rows=ROWS, dim=dim, out=pointers["x"], offset=KEY.offset, first_chain=KEY.first_chain,
        step_size=STEP, compressor=code, compressor_size=size, clip=1, clip_limit=LIMIT,
        bounds=1, lower=LOWER, upper=UPPER, **pointers,
    )  # fmt: skip
    if compressor is None:
        params.residual = 0
        tiles_per_row = -(-dim // 1024)
        arguments, grid = [params, np.int64(tiles_per_row), vector], ROWS * tiles_per_row
    else:
        arguments, grid = [params, np.int64(min(size, dim)), vector], ROWS
    counters = launch(kernel_of(steps, compressor, dtype), grid, THREADS, arguments, buffers=arrays)

    options = {"compressor": compressor, "clip": eff.ClipValue(LIMIT), "bounds": (LOWER, UPPER)}
    memory = None if compressor is None else residual
    eff.langevin_step_(x, grad, STEP, residual=memory, rng=KEY, **options)
    assert arrays["x"].tobytes() == array_of(x).tobytes()
    if memory is not None:
        assert arrays["residual"].tobytes() == residual.numpy().tobytes()
    written = sum(t.numel() * t.element_size() for t in (x, memory) if t is not None)
    assert counters.global_written_bytes == written
    if vector:
        width = min(16, 4 * x.element_size())
        assert set(counters.buffer("x").store_widths) == {width}
        assert set(counters.buffer("x").load_widths) == {width}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [5, 1024, 1030])
@pytest.mark.parametrize("compressor", [eff.TopK(ratio=0.3), eff.BlockSign(48)], ids=str)
def test_compression_equals_the_cpu_kernel(dtype, dim, compressor) -> None:  # type: ignore[no-untyped-def]
    module = compiled("topk" if isinstance(compressor, eff.TopK) else "block_sign")
    x = torch.randn(ROWS, dim, generator=torch.Generator().manual_seed(dim)).to(dtype)
    x[:, ::3] = x[:, ::3].round()  # ties, and zeros
    arrays = {"x": device_copy(array_of(x)), "out": device_copy(array_of(x))}
    size = compressor.kernel_arguments(dim)[1]
    pointers = {name: array.ctypes.data for name, array in arrays.items()}
    params = CompressParams(rows=ROWS, dim=dim, size=size, **pointers)
    kernel = kernel_of(module, compressor, dtype, "CompressRow")
    arguments = [params, np.int64(min(size, dim)), dim % 4 == 0]
    counters = launch(kernel, ROWS, THREADS, arguments, buffers=arrays)
    assert arrays["out"].tobytes() == array_of(compressor.compress(x)).tobytes()
    assert counters.buffer("out").written_bytes == x.numel() * x.element_size()
    assert counters.buffer("x").written_bytes == 0


def test_the_plain_step_is_one_pass_over_memory(steps: Module) -> None:
    dim = 4096
    arrays = {
        "x": device_copy(np.zeros((2, dim), np.float32)),
        "grad": device_copy(np.ones((2, dim), np.float32)),
        "key": device_copy(np.zeros(2, np.int64)),
    }
    pointers = {name: array.ctypes.data for name, array in arrays.items()}
    params = Params(rows=2, dim=dim, out=pointers["x"], step_size=0.1, **pointers)
    arguments = [params, np.int64(dim // 1024), True]
    kernel = kernel_of(steps, None, torch.float32)
    counters = launch(kernel, 2 * dim // 1024, THREADS, arguments, buffers=arrays)
    n = 2 * dim
    x, grad = counters.buffer("x"), counters.buffer("grad")
    assert (x.read_bytes, x.written_bytes, grad.read_bytes) == (4 * n, 4 * n, 4 * n)
    # 117 when this was written. A memory-bound step on a large GPU can afford about 80.
    assert sum(counters.instructions.values()) / n < 120
