"""Block-Sign: every entry becomes its sign times the mean magnitude of its block."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from effebm_ext import _C
from effebm_ext.ops.checks import (
    check_state,
    compute_dtype,
    is_differentiated,
    row_size,
)
from effebm_ext.reference import canonical_sum


def block_sign_compress(x: Tensor, block_size: int) -> Tensor:
    """Replace every entry by ``sign(x) * mean(abs(block))`` of its block; an exact zero stays zero.

    Blocks are consecutive runs of ``block_size`` entries of the flattened row; the last may be
    short and is scaled by its own length. Block-wise sign/L1 compression as in EFF-EBM,
    Algorithm 1. The mean is summed in float32 (float64 for float64), in a fixed order.
    Differentiable almost everywhere: within a block of n entries
    ``d out_i / d x_j = sign(x_i) sign(x_j) / n``.

    Args:
        x: float32, float64, bfloat16 or float16 ``(n_chains, *event)``, any strides.
        block_size: entries per block, at least 1; larger than a row means one block per row.

    Returns:
        A new contiguous tensor of x's shape and dtype.

    Raises:
        TypeError: x is not a tensor of one of these dtypes, or block_size is not an int.
        ValueError: block_size is below 1, or x has no axes.
        RuntimeError: x is on a device this build has no kernels for.
    """
    check_state(x)
    check_block_size(block_size)
    if is_differentiated(x):
        return _Differentiable.apply(x, block_size)
    return torch.ops.effebm.block_sign_compress(x, block_size, None)


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, block_size: int) -> Tensor:
        return torch.ops.effebm.block_sign_compress(x, block_size, None)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        x, ctx.block_size = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return block_sign_vjp(x, gradient, ctx.block_size), None


def block_sign_vjp(x: Tensor, v: Tensor, block_size: int) -> Tensor:
    """``v`` times the derivative of block_sign_compress at ``x``, in plain PyTorch."""
    dim = row_size(x)
    size = max(1, min(block_size, dim))
    blocks = -(-dim // size)
    dtype = compute_dtype(x.dtype)

    def split(t: Tensor) -> Tensor:
        rows = t.reshape(x.shape[0], dim).to(dtype)
        return torch.nn.functional.pad(rows, (0, blocks * size - dim)).unflatten(1, (blocks, size))

    sign = split(x).sign()
    lengths = torch.full((blocks, 1), float(size), dtype=dtype, device=x.device)
    lengths[-1:] = dim - (blocks - 1) * size
    mean = (split(v) * sign).sum(2, keepdim=True) / lengths
    return (mean * sign).flatten(1)[:, :dim].reshape(x.shape).to(v.dtype)


def check_block_size(block_size: int) -> None:
    if not isinstance(block_size, (int, torch.SymInt)) or isinstance(block_size, bool):
        raise TypeError(f"block_size: expected an int, got {type(block_size).__name__}")
    if block_size < 1:
        raise ValueError(f"block_size: expected at least 1, got {block_size}")
    if block_size >= 2**63:
        raise ValueError(f"block_size: expected a 64-bit integer, got {block_size}")


@dataclasses.dataclass(frozen=True)
class BlockSign:
    """Replace every entry by its sign times the mean magnitude of its block of ``block_size``.

    Raises:
        TypeError: block_size is not an int.
        ValueError: block_size is below 1.
    """

    block_size: int

    def __post_init__(self) -> None:
        check_block_size(self.block_size)

    def compress(self, x: Tensor) -> Tensor:
        """See :func:`effebm_ext.block_sign_compress`."""
        return block_sign_compress(x, self.block_size)

    def vjp(self, u: Tensor, v: Tensor) -> Tensor:
        """``v`` times the derivative of :meth:`compress` at ``u``."""
        return block_sign_vjp(u, v, self.block_size)

    def kernel_arguments(self, dim: int) -> tuple[int, int]:
        """The code and size by which the fused op knows this compressor."""
        return _C.COMPRESSOR_BLOCK_SIGN, self.block_size


@torch.library.register_fake("effebm::block_sign_compress")
def _(x: Tensor, block_size: int, block_offsets: Tensor | None) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def block_sign_compress_reference(x: Tensor, block_size: int) -> Tensor:
    """The same in plain PyTorch."""
    rows = x.reshape(x.shape[0], row_size(x)).to(compute_dtype(x.dtype))
    out = torch.zeros_like(rows, memory_format=torch.contiguous_format)
    for begin in range(0, rows.shape[1], block_size):
        block = rows[:, begin : begin + block_size]
        scale = canonical_sum(block.abs()) / block.shape[1]
        signed = torch.copysign(scale[:, None].expand_as(block), block)
        out[:, begin : begin + block_size] = torch.where(block == 0, 0.0, signed)
    return out.to(x.dtype).reshape(x.shape)
