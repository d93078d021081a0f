"""The kernels of packing against the CPU kernels: equal bits."""

from __future__ import annotations

import pytest
import torch
from library import DTYPES, THREADS, Device, EntriesParams, SignsParams, compiled
from problems import values
from ptx_simulator import launch

import effebm_ext as eff

ROWS = 3
FIELDS = ("signs", "zeros", "scales")  # the tensors of packed signs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dim", [5, 1030])
def test_packing_signs_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    kernels, name = compiled("packing"), DTYPES[dtype]
    c = eff.block_sign_compress(values(ROWS, dim, dtype), 48)
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
def test_packing_entries_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    c = eff.topk_compress(values(ROWS, dim, dtype), dim // 2)
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
    params.k = 1  # there are more entries
    launch(kernel, ROWS, THREADS, [params], buffers=device.arrays)
    assert device.arrays["flags"].tolist() == [1]
