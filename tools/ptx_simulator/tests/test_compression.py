"""The kernels of compression and of packing against the CPU kernels: equal bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from library import (
    DTYPES,
    NAMESPACE,
    ROWS,
    THREADS,
    Blocks,
    BlockSignParams,
    Device,
    EntriesParams,
    SignsParams,
    TopkParams,
    compiled,
    resident_row,
)
from ptx_simulator import launch

import effebm_ext as eff

FIELDS = ("signs", "zeros", "scales")  # of packed signs


def rows_with_ties(dim: int, dtype: torch.dtype) -> torch.Tensor:
    x = torch.randn(ROWS, dim, generator=torch.Generator().manual_seed(dim)).to(dtype)
    x[:, ::3] = x[:, ::3].round()  # ties, and zeros
    return x


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [5, 1024, 1030])
@pytest.mark.parametrize("compressor", [eff.TopK(ratio=0.3), eff.BlockSign(48)], ids=str)
@pytest.mark.parametrize("resident", [False, True])
def test_compression_equals_the_cpu_kernel(dtype, dim, compressor, resident) -> None:  # type: ignore[no-untyped-def]
    x = rows_with_ties(dim, dtype)
    device = Device(x=x, out=torch.zeros_like(x))
    size = compressor.kernel_arguments(x)[1]
    if isinstance(compressor, eff.TopK):
        kernels, name = compiled("topk"), "topk_rows"
        how, params = np.int64(size), TopkParams(rows=ROWS, dim=dim, **device.pointers())
    else:
        kernels, name = compiled("block_sign"), "block_sign_rows"
        how, params = Blocks(dim, size), BlockSignParams(rows=ROWS, dim=dim, **device.pointers())
    row, held = f"CompressRow<{DTYPES[dtype]}>", 0
    if resident:
        row, held = resident_row(row), -(-dim // 4) * 4 * max(4, x.element_size())
    kernel = kernels.find(f"{name}<{NAMESPACE}{row}")
    arguments = [params, how, dim % 4 == 0]
    counters = launch(kernel, ROWS, THREADS, arguments, buffers=device.arrays, dynamic_shared=held)
    assert device.holds("out", compressor.compress(x))
    assert counters.buffer("out").written_bytes == x.numel() * x.element_size()
    assert counters.buffer("x").written_bytes == 0
    if resident:  # one pass
        assert counters.buffer("x").read_bytes == x.numel() * x.element_size()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dim", [5, 1030])
def test_packing_signs_equals_the_cpu_kernel(dtype, dim) -> None:  # type: ignore[no-untyped-def]
    kernels, name = compiled("packing"), DTYPES[dtype]
    c = eff.block_sign_compress(rows_with_ties(dim, dtype), 48)
    want = eff.BlockSign(48).pack(c)
    assert want.zeros is not None
    fresh = {field: torch.zeros_like(getattr(want, field)) for field in FIELDS}
    device = Device(c=c, flags=torch.zeros(2, dtype=torch.int32), **fresh)
    params = SignsParams(
        rows=ROWS, dim=dim, block_size=48, n_blocks=want.scales.shape[1], **device.pointers()
    )
    grid = -(-want.signs.numel() // 8)
    launch(kernels.find("find_scales", f"<{name}>"), 1, THREADS, [params], buffers=device.arrays)
    launch(
        kernels.find("::pack_signs", f"<{name}>"), grid, THREADS, [params], buffers=device.arrays
    )
    for field in FIELDS:
        assert device.holds(field, getattr(want, field))
    assert device.arrays["flags"].tolist() == [1, 0]
    device.arrays["c"][:] = 7
    unpack = kernels.find("unpack_signs", f"<{name}>")
    launch(unpack, grid, THREADS, [params], buffers=device.arrays)
    assert device.holds("c", c)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dim", [5, 1030])
def test_packing_entries_equals_the_cpu_kernel(dtype, dim) -> None:  # type: ignore[no-untyped-def]
    c = eff.topk_compress(rows_with_ties(dim, dtype), dim // 2)
    c[1, dim // 3 :] = 0  # fewer than k
    c[2] = 0
    want = eff.TopK(dim // 2).pack(c)
    indices = want.indices.int()
    device = Device(c=c, values=torch.zeros_like(want.values), indices=torch.zeros_like(indices),
                    flags=torch.zeros(1, dtype=torch.int32))  # fmt: skip
    params = EntriesParams(rows=ROWS, dim=dim, k=dim // 2, **device.pointers())
    kernel = compiled("packing").find("pack_entries", f"<{DTYPES[dtype]}>")
    launch(kernel, ROWS, THREADS, [params], buffers=device.arrays)
    assert device.holds("values", want.values)
    assert device.holds("indices", indices)
    assert device.arrays["flags"].tolist() == [0]
    params.k = 1  # of which there are more
    launch(kernel, ROWS, THREADS, [params], buffers=device.arrays)
    assert device.arrays["flags"].tolist() == [1]
