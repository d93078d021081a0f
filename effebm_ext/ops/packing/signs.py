"""What Block-Sign compressed: a bit per entry and a scale per block."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from effebm_ext.ops.checks import row_size
from effebm_ext.ops.packing.packed import Packed
from effebm_ext.shown import as_call

_SIGNS_PACK = torch.ops.effebm.signs_pack.default
_SIGNS_UNPACK = torch.ops.effebm.signs_unpack.default


@dataclasses.dataclass(frozen=True, eq=False)
class PackedSigns(Packed):
    """A tensor that Block-Sign compressed: one bit per entry, and one scale per block.

    Attributes:
        signs: int32 ``(n_chains, ceil(d / 32))``; bit ``i % 32`` of word ``i // 32`` is set where
            entry i is negative.
        zeros: the same for entries that are zero, or None where there are none.
        scales: ``(n_chains, n_blocks)``, of the dtype of what was packed.
        event_shape: shape of the entries of a chain.
        block_size, block_offsets: the blocks, as the ops take them.
    """

    signs: Tensor
    zeros: Tensor | None
    scales: Tensor
    event_shape: tuple[int, ...]
    block_size: int
    block_offsets: Tensor | None

    __repr__ = as_call

    def unpack(self) -> Tensor:
        """As :meth:`Packed.unpack`."""
        c = _SIGNS_UNPACK(
            self.signs, self.zeros, self.scales, math.prod(self.event_shape), self.block_size,
            self.block_offsets,
        )  # fmt: skip
        return c.reshape(len(c), *self.event_shape)

    def tensors(self) -> dict[str, Tensor | None]:
        """As :meth:`Packed.tensors`."""
        return {"signs": self.signs, "zeros": self.zeros, "scales": self.scales}

    def put(self, chains: Tensor, other: PackedSigns) -> PackedSigns:
        """As :meth:`Packed.put`."""
        self.signs[chains], self.scales[chains] = other.signs, other.scales
        if self.zeros is None and other.zeros is None:
            return self
        zeros = torch.zeros_like(self.signs) if self.zeros is None else self.zeros
        zeros[chains] = torch.zeros_like(other.signs) if other.zeros is None else other.zeros
        return dataclasses.replace(self, zeros=zeros)


def pack_signs(c: Tensor, block_size: int, block_offsets: Tensor | None) -> PackedSigns:
    """See :meth:`effebm_ext.BlockSign.pack`."""
    signs, zeros, scales, flags = _SIGNS_PACK(c, block_size, block_offsets)
    has_zeros, misfits = flags.tolist()
    if misfits:
        raise ValueError(
            "c: expected a tensor that Block-Sign has compressed with these blocks, got entries of "
            "several magnitudes in one block"
        )
    return PackedSigns(
        signs, zeros if has_zeros else None, scales, tuple(c.shape[1:]), block_size, block_offsets
    )


@torch.library.register_fake("effebm::signs_pack")
def _(
    c: Tensor, block_size: int, block_offsets: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dim = row_size(c)
    words = (dim + 31) // 32
    blocks = (
        (dim + block_size - 1) // block_size if block_offsets is None else len(block_offsets) - 1
    )
    signs, zeros = (c.new_empty((c.shape[0], words), dtype=torch.int32) for _ in range(2))
    flags = c.new_empty((2,), dtype=torch.int32)
    return signs, zeros, c.new_empty((c.shape[0], blocks)), flags


@torch.library.register_fake("effebm::signs_unpack")
def _(
    signs: Tensor,
    zeros: Tensor | None,
    scales: Tensor,
    dim: int,
    block_size: int,
    block_offsets: Tensor | None,
) -> Tensor:
    return scales.new_empty((scales.shape[0], dim))
