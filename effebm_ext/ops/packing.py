"""Compressed tensors in less memory, without loss."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from effebm_ext.ops.checks import (
    check_not_transformed,
    check_state,
    compute_dtype,
    row_size,
)

_SMALL_INDEX = 2**15


@dataclasses.dataclass(frozen=True, eq=False)
class PackedSigns:
    """What Block-Sign compressed: one bit per entry, and one scale per block.

    Attributes:
        signs: int32 ``(n_chains, ceil(d / 32))``; bit ``i % 32`` of word ``i // 32`` is set where
            entry i is negative.
        zeros: the same for entries that are zero, or None where there are none.
        scales: ``(n_chains, n_blocks)``, of the dtype of what was packed.
        event_shape: of the entries of a chain.
        block_size, block_offsets: the blocks, as the ops take them.
    """

    signs: Tensor
    zeros: Tensor | None
    scales: Tensor
    event_shape: tuple[int, ...]
    block_size: int
    block_offsets: Tensor | None

    def unpack(self) -> Tensor:
        """What was packed, bit for bit: ``(n_chains, *event_shape)``."""
        dim = 1
        for n in self.event_shape:
            dim *= n
        c = torch.ops.effebm.signs_unpack(
            self.signs, self.zeros, self.scales, dim, self.block_size, self.block_offsets
        )
        return c.reshape(len(c), *self.event_shape)

    def take(self, chains: Tensor) -> PackedSigns:
        """Of some chains, by their indices, int64 ``(n,)``."""
        zeros = None if self.zeros is None else self.zeros[chains]
        return dataclasses.replace(
            self, signs=self.signs[chains], zeros=zeros, scales=self.scales[chains]
        )

    def put(self, chains: Tensor, other: PackedSigns) -> PackedSigns:
        """The reverse of :meth:`take`: with ``other`` in the place of some chains; the memory of
        these is overwritten."""
        self.signs[chains], self.scales[chains] = other.signs, other.scales
        if self.zeros is None and other.zeros is None:
            return self
        zeros = torch.zeros_like(self.signs) if self.zeros is None else self.zeros
        zeros[chains] = torch.zeros_like(other.signs) if other.zeros is None else other.zeros
        return dataclasses.replace(self, zeros=zeros)

    @property
    def nbytes(self) -> int:
        """Memory of the chains, in bytes."""
        tensors = (self.signs, self.scales) if self.zeros is None else (
            self.signs, self.zeros, self.scales)  # fmt: skip
        return sum(t.nbytes for t in tensors)


@dataclasses.dataclass(frozen=True, eq=False)
class PackedEntries:
    """What Top-k compressed: the kept entries and where they belong.

    Attributes:
        values: ``(n_chains, k)``, of the dtype of what was packed. Where a chain has fewer entries
            that are not zero, the last one is repeated.
        indices: int16 ``(n_chains, k)`` for chains of up to 2**15 entries, else int32.
        event_shape: of the entries of a chain.
    """

    values: Tensor
    indices: Tensor
    event_shape: tuple[int, ...]

    def unpack(self) -> Tensor:
        """What was packed, bit for bit: ``(n_chains, *event_shape)``."""
        c = self.values.new_zeros(len(self.values), *self.event_shape)
        if self.values.numel() > 0:
            c.view(len(c), -1).scatter_(1, self.indices.long(), self.values)
        return c

    def take(self, chains: Tensor) -> PackedEntries:
        """Of some chains, by their indices, int64 ``(n,)``."""
        return dataclasses.replace(self, values=self.values[chains], indices=self.indices[chains])

    def put(self, chains: Tensor, other: PackedEntries) -> PackedEntries:
        """The reverse of :meth:`take`: with ``other`` in the place of some chains; the memory of
        these is overwritten."""
        self.values[chains], self.indices[chains] = other.values, other.indices
        return self

    @property
    def nbytes(self) -> int:
        """Memory of the chains, in bytes."""
        return self.values.nbytes + self.indices.nbytes


def pack_signs(c: Tensor, block_size: int, block_offsets: Tensor | None) -> PackedSigns:
    """See :meth:`effebm_ext.BlockSign.pack`."""
    signs, zeros, scales, flags = torch.ops.effebm.signs_pack(c, block_size, block_offsets)
    has_zeros, misfits = flags.tolist()
    if misfits:
        raise ValueError(
            "c: expected a tensor that Block-Sign has compressed with these blocks, got entries of "
            "several magnitudes in one block"
        )
    return PackedSigns(
        signs, zeros if has_zeros else None, scales, tuple(c.shape[1:]), block_size, block_offsets
    )


def pack_entries(c: Tensor, k: int) -> PackedEntries:
    """See :meth:`effebm_ext.TopK.pack`."""
    values, indices, flags = torch.ops.effebm.entries_pack(c, k)
    if flags.item():
        raise ValueError(
            f"c: expected a tensor that Top-k has compressed to {k} entries per chain, got more"
        )
    if row_size(c) <= _SMALL_INDEX:
        indices = indices.to(torch.int16)
    return PackedEntries(values, indices, tuple(c.shape[1:]))


def check_packable(c: Tensor) -> None:
    check_state(c, "c")
    check_not_transformed("pack", c)
    if c.dtype != compute_dtype(c.dtype):
        raise TypeError(f"c: expected float32 or float64, as drifts are, got {c.dtype}")


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


@torch.library.register_fake("effebm::entries_pack")
def _(c: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    shape = (c.shape[0], k)
    indices = c.new_empty(shape, dtype=torch.int32)
    return c.new_empty(shape), indices, c.new_empty((1,), dtype=torch.int32)
