"""The kernels of packing against the CPU kernels: equal bits."""

from __future__ import annotations

import pytest
import torch
from calls import values
from device import array_of, on_device, ptx_device

import effebm_ext as eff
from effebm_ext.ops.packing import Packed

ROWS = 3
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
dims = pytest.mark.parametrize("dim", [5, 1030])
MOST_BLOCKS = 2


def assert_same(packed: Packed, want: Packed) -> None:
    for name, t in want.tensors().items():
        made = packed.tensors()[name]
        assert (made is None) == (t is None)
        assert t is None or array_of(made).tobytes() == array_of(t).tobytes(), name


@dtypes
@dims
@pytest.mark.parametrize("of", ["size", "offsets"])
def test_packing_signs_equals_the_cpu_kernel(dtype: torch.dtype, dim: int, of: str) -> None:
    offsets = [0, 2, dim - 1, dim]
    compressor = eff.BlockSign(48) if of == "size" else eff.BlockSign(block_offsets=offsets)
    for zeros in (False, True):
        c = values(ROWS, dim, dtype)
        c = compressor.compress(c if zeros else c.abs() + 1)
        want = compressor.pack(c)
        with ptx_device(MOST_BLOCKS):
            packed = compressor.pack(on_device(c))
            assert torch.equal(packed.unpack(), c)
        assert_same(packed, want)


@dtypes
def test_entries_of_other_magnitudes_are_found(dtype: torch.dtype) -> None:
    c = eff.block_sign_compress(values(ROWS, 1030, dtype), 48)
    c[1, 1029] *= 2
    with ptx_device(MOST_BLOCKS), pytest.raises(ValueError, match="several magnitudes"):
        eff.BlockSign(48).pack(on_device(c))


@dtypes
@dims
def test_packing_entries_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    k = dim // 2
    c = eff.topk_compress(values(ROWS, dim, dtype), k)
    c[1, dim // 3 :] = 0  # fewer than k
    c[2] = 0
    want = eff.TopK(k).pack(c)
    with ptx_device(MOST_BLOCKS):
        assert_same(eff.TopK(k).pack(on_device(c)), want)
        with pytest.raises(ValueError, match="got more"):
            eff.TopK(1).pack(on_device(c))
