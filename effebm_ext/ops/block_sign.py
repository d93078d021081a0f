"""Block-Sign: every entry becomes its sign times the mean magnitude of its block."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from effebm_ext.ops.checks import compute_dtype, row_size
from effebm_ext.ops.compressor import (
    NO_KEY,
    CompressorArguments,
    FusedCompressor,
    KeyArguments,
)
from effebm_ext.ops.packing.packed import check_packable
from effebm_ext.ops.packing.signs import PackedSigns, pack_signs
from effebm_ext.reference import canonical_sum
from effebm_ext.scalars import as_int
from effebm_ext.shown import as_call
from effebm_ext.transforms import is_transformed

Offsets = Sequence[int] | np.ndarray | Tensor


def block_sign_compress(
    x: Tensor, block_size: int | None = None, *, block_offsets: Offsets | None = None
) -> Tensor:
    """Replace every entry by ``sign(x) * mean(abs(block))`` of its block; an exact zero stays zero.

    Blocks are consecutive runs of ``block_size`` entries of the flattened row, the last of which
    may be short, or those from each of ``block_offsets`` to the next; a block is scaled by its own
    length. Block-wise sign/L1 compression as in EFF-EBM, Algorithm 1. The mean is summed in
    float32 (float64 for float64), in a fixed order. Differentiable almost everywhere, in reverse
    and in forward mode: within a block of n entries ``d out_i / d x_j = sign(x_i) sign(x_j) / n``.
    ``torch.vmap`` folds its axis into the chains.

    Args:
        x: float32, float64, bfloat16 or float16 ``(n_chains, *event)``, any strides.
        block_size: entries per block, at least 1; larger than a row means one block per row.
        block_offsets: in place of it, ``n_blocks + 1`` rising integers, from 0 to the number of
            entries of a row: a sequence, an array or a tensor.

    Returns:
        A new contiguous tensor of x's shape and dtype.

    Raises:
        TypeError: x is not a tensor of one of these dtypes; both or neither of block_size and
            block_offsets are given, or not as ints.
        ValueError: block_size is below 1, block_offsets are not as stated, or x has no axes.
        RuntimeError: x is on a device this build has no kernels for.
    """
    return BlockSign(block_size, block_offsets=block_offsets).compress(x)


@dataclasses.dataclass(frozen=True, init=False)
class BlockSign(FusedCompressor):
    """Replace every entry by its sign times the mean magnitude of its block.

    Args:
        block_size: entries per block; or
        block_offsets: where blocks begin and the last one ends, as in
            :func:`effebm_ext.block_sign_compress`.

    Raises:
        TypeError: both or neither are given, or not as ints.
        ValueError: block_size is below 1, or block_offsets do not rise from 0.
    """

    name = "block_sign"
    text_form = "block-sign:SIZE"

    block_size: int | None
    block_offsets: tuple[int, ...] | None

    def __init__(
        self, block_size: int | None = None, *, block_offsets: Offsets | None = None
    ) -> None:
        if (block_size is None) == (block_offsets is None):
            raise TypeError(
                "BlockSign: expected either block_size or block_offsets, "
                f"got {block_size} and {block_offsets}"
            )
        if block_size is not None:
            block_size = _checked_block_size(block_size)
        offsets = None if block_offsets is None else _checked_offsets(block_offsets)
        object.__setattr__(self, "block_size", block_size)
        object.__setattr__(self, "block_offsets", offsets)

    __repr__ = as_call

    @classmethod
    def parse(cls, text: str) -> BlockSign:
        """See :meth:`FusedCompressor.parse`: ``64`` is the size of the blocks."""
        return cls(cls.number(text, int))

    def kernel_arguments(self, x: Tensor) -> CompressorArguments:
        """See :meth:`FusedCompressor.kernel_arguments`."""
        return self.code, *self.blocks(x)

    def pack(self, c: Tensor) -> PackedSigns:
        """A tensor that this has compressed, or the drift of a transition, in one bit per entry
        (two if some are zero) and one scale per block; ``pack(c).unpack()`` is c, bit for bit.

        Args:
            c: float32 or float64 ``(n_chains, *event)``. On CUDA this waits for the device.

        Raises:
            TypeError: c has another dtype.
            ValueError: c is not such a tensor.
            RuntimeError: a derivative by c is taken, or c is vmapped.
        """
        check_packable(c)
        return pack_signs(c, *self.blocks(c))

    def vjp(self, u: Tensor, v: Tensor, key: KeyArguments = NO_KEY) -> Tensor:
        """``v`` times the derivative of :meth:`compress` at ``u``, a symmetric matrix, in plain
        PyTorch."""
        dim, dtype = row_size(u), compute_dtype(u.dtype)
        sign = u.reshape(len(u), dim).to(dtype).sign()
        block = self._block_of_each(dim).to(u.device)
        lengths = torch.bincount(block)
        zeros = torch.zeros(len(u), len(lengths), dtype=dtype, device=u.device)
        sums = zeros.index_add(1, block, v.reshape(len(u), dim).to(dtype) * sign)
        return ((sums / lengths)[:, block] * sign).reshape(u.shape).to(v.dtype)

    def blocks(self, x: Tensor) -> tuple[int, Tensor | None]:
        """``(block_size, block_offsets)`` as the ops take them, for chains like those of ``x``.

        Raises:
            ValueError: block_offsets do not end where a row does.
        """
        if self.block_offsets is None:
            assert self.block_size is not None
            return self.block_size, None
        if self.block_offsets[-1] != row_size(x):
            raise ValueError(
                f"block_offsets: expected the last to be {row_size(x)}, the elements of a row, "
                f"got {self.block_offsets[-1]}"
            )
        return 1, _offsets_for(x, self.block_offsets)

    def reference(self, u: Tensor, seed: int, offset: int, first_chain: int) -> Tensor:
        """See :meth:`FusedCompressor.reference`."""
        return block_sign_compress_reference(u, self)

    def _block_of_each(self, dim: int) -> Tensor:
        """int64 ``(dim,)``: the block that each element of a row lies in."""
        if self.block_offsets is None:
            assert self.block_size is not None
            return torch.arange(dim) // self.block_size
        lengths = torch.tensor(self.block_offsets).diff()
        return torch.repeat_interleave(torch.arange(len(lengths)), lengths)


def _checked_block_size(block_size: Any) -> int:
    size = as_int(block_size, "block_size")
    if size < 1:
        raise ValueError(f"block_size: expected at least 1, got {size}")
    if size >= 2**63:
        raise ValueError(f"block_size: expected a 64-bit integer, got {size}")
    return size


def _checked_offsets(block_offsets: Offsets) -> tuple[int, ...]:
    try:
        offsets = tuple(as_int(offset, "block_offsets") for offset in block_offsets)
    except TypeError as error:
        raise TypeError(f"block_offsets: expected integers, got {block_offsets!r}") from error
    if len(offsets) < 2 or offsets[0] != 0:
        raise ValueError(f"block_offsets: expected at least two, the first 0, got {offsets}")
    if any(b <= a for a, b in itertools.pairwise(offsets)):
        raise ValueError(f"block_offsets: expected each to be above the one before, got {offsets}")
    return offsets


def _new_offsets(device: torch.device, offsets: tuple[int, ...]) -> Tensor:
    return torch.tensor(offsets, dtype=torch.int64, device=device)


# Made once per device: a copy to a device is slow, and a graph that is captured must not make one.
# Autograd may have to save what was first asked for in inference mode.
_cached_offsets = functools.cache(torch.inference_mode(False)(_new_offsets))


def _offsets_for(x: Tensor, offsets: tuple[int, ...]) -> Tensor:
    # A tensor made within a transform belongs to it.
    if type(x) is not Tensor or torch.compiler.is_compiling() or is_transformed():
        return _new_offsets(x.device, offsets)
    return _cached_offsets(x.device, offsets)


def block_sign_compress_reference(x: Tensor, compressor: BlockSign) -> Tensor:
    """The same in plain PyTorch."""
    rows = x.reshape(x.shape[0], row_size(x)).to(compute_dtype(x.dtype))
    out = torch.zeros_like(rows, memory_format=torch.contiguous_format)
    dim = rows.shape[1]
    offsets = compressor.block_offsets or (*range(0, dim, compressor.block_size or 1), dim)
    for begin, end in itertools.pairwise(offsets):
        block = rows[:, begin:end]
        scale = canonical_sum(block.abs()) / block.shape[1]
        signed = torch.copysign(scale[:, None].expand_as(block), block)
        out[:, begin:end] = torch.where(block == 0, 0.0, signed)
    return out.to(x.dtype).reshape(x.shape)
