"""Compressed tensors in less memory, without loss."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from effebm_ext.ops.checks import (
    check_not_transformed,
    check_state,
    compute_dtype,
    row_size,
)
from effebm_ext.shown import as_call

if TYPE_CHECKING:
    from typing_extensions import Self

_SMALL_INDEX = 2**15
_SIGNS_PACK = torch.ops.effebm.signs_pack.default
_SIGNS_UNPACK = torch.ops.effebm.signs_unpack.default
_ENTRIES_PACK = torch.ops.effebm.entries_pack.default


class Packed(ABC):
    """A compressed tensor ``(n_chains, *event_shape)`` in less memory."""

    event_shape: tuple[int, ...]

    @abstractmethod
    def unpack(self) -> Tensor:
        """Returns the tensor that was packed, bit for bit: ``(n_chains, *event_shape)``."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor | None]:
        """The tensors by name, each with a row for every chain."""

    @abstractmethod
    def put(self, chains: Tensor, other: Self) -> Self:
        """The reverse of :meth:`take`: with ``other`` in the place of some chains; the memory of
        these is overwritten."""

    def take(self, chains: Tensor) -> Self:
        """Copies of some chains, by their indices, int64 ``(n,)``."""
        return self.mapped(lambda t: t[chains])

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same with a function applied to all tensors."""
        tensors = self.tensors().items()
        return self.with_tensors({n: None if t is None else function(t) for n, t in tensors})

    def with_tensors(self, tensors: dict[str, Tensor | None]) -> Self:
        """The same with other tensors, by the names of :meth:`tensors`."""
        return dataclasses.replace(self, **tensors)  # type: ignore[type-var]

    @property
    def nbytes(self) -> int:
        """Memory of the chains, in bytes."""
        return sum(t.nbytes for t in self.tensors().values() if t is not None)


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


@dataclasses.dataclass(frozen=True, eq=False)
class PackedEntries(Packed):
    """A tensor that Top-k or Random-k compressed: the kept entries and their indices.

    Attributes:
        values: ``(n_chains, k)``, of the dtype of what was packed. Where a chain has fewer entries
            that are not zero, the last one is repeated.
        indices: int16 ``(n_chains, k)`` for chains of up to 2**15 entries, else int32.
        event_shape: shape of the entries of a chain.
    """

    values: Tensor
    indices: Tensor
    event_shape: tuple[int, ...]

    __repr__ = as_call

    def unpack(self) -> Tensor:
        """As :meth:`Packed.unpack`."""
        c = self.values.new_zeros(len(self.values), *self.event_shape)
        if self.values.numel() > 0:
            c.view(len(c), -1).scatter_(1, self.indices.long(), self.values)
        return c

    def tensors(self) -> dict[str, Tensor | None]:
        """As :meth:`Packed.tensors`."""
        return {"values": self.values, "indices": self.indices}

    def put(self, chains: Tensor, other: PackedEntries) -> PackedEntries:
        """As :meth:`Packed.put`."""
        self.values[chains], self.indices[chains] = other.values, other.indices
        return self


@dataclasses.dataclass(frozen=True, eq=False)
class PackedBlock(Packed):
    """A tensor of which each chain has a block of entries only.

    Attributes:
        values: ``(n_chains, k)``, of the dtype of what was packed, the entries of the block.
        starts: int64 ``(n_chains,)``, the first of them; entry 0 follows the last one of a chain.
        event_shape: shape of the entries of a chain.
    """

    values: Tensor
    starts: Tensor
    event_shape: tuple[int, ...]

    __repr__ = as_call

    def unpack(self) -> Tensor:
        """As :meth:`Packed.unpack`."""
        c = self.values.new_zeros(len(self.values), *self.event_shape)
        if self.values.numel() > 0:
            c.view(len(c), -1).scatter_(1, _block(self.starts, *_sizes(self)), self.values)
        return c

    def tensors(self) -> dict[str, Tensor | None]:
        """As :meth:`Packed.tensors`."""
        return {"values": self.values, "starts": self.starts}

    def put(self, chains: Tensor, other: PackedBlock) -> PackedBlock:
        """As :meth:`Packed.put`."""
        self.values[chains], self.starts[chains] = other.values, other.starts
        return self


def _sizes(packed: PackedBlock) -> tuple[int, int]:
    return packed.values.shape[1], math.prod(packed.event_shape)


def _block(starts: Tensor, k: int, dim: int) -> Tensor:
    """Returns the indices of k entries from each start on, int64 ``(n, k)``."""
    return (starts[:, None] + torch.arange(k, device=starts.device)) % dim


def pack_block(c: Tensor, k: int) -> PackedBlock:
    """See :meth:`effebm_ext.RandomBlock.pack`."""
    n, dim = len(c), row_size(c)
    rows = c.reshape(n, dim)
    filled = (rows != 0) | rows.signbit()
    before = torch.nn.functional.pad(torch.cat([filled, filled], 1).cumsum(1), (1, 0))
    begins = before[:, k : k + dim] - before[:, :dim] == before[:, dim, None]
    if not begins.any(1).all() and rows.numel() > 0:
        raise ValueError(
            f"c: expected a tensor that has been compressed to a block of {k} entries per chain, "
            "got entries outside of any"
        )
    starts = begins.int().argmax(1) if dim else rows.new_zeros(n, dtype=torch.int64)
    values = rows.gather(1, _block(starts, k, max(dim, 1)))
    return PackedBlock(values, starts, tuple(c.shape[1:]))


@dataclasses.dataclass(frozen=True, eq=False)
class PackedUpperBits(Packed):
    """A tensor of floats whose lower bits are zero: the upper bits.

    Attributes:
        bits: int16 or int32 ``(n_chains, d)``, the upper bits of the entries.
        dtype: of what was packed.
        event_shape: shape of the entries of a chain.
    """

    bits: Tensor
    dtype: torch.dtype
    event_shape: tuple[int, ...]

    __repr__ = as_call

    def unpack(self) -> Tensor:
        """As :meth:`Packed.unpack`."""
        integer = _INTEGERS[self.dtype.itemsize]
        shift = 8 * (self.dtype.itemsize - self.bits.element_size())
        c = (self.bits.to(integer) << shift).view(self.dtype)
        return c.reshape(len(c), *self.event_shape)

    def tensors(self) -> dict[str, Tensor | None]:
        """As :meth:`Packed.tensors`."""
        return {"bits": self.bits}

    def put(self, chains: Tensor, other: PackedUpperBits) -> PackedUpperBits:
        """As :meth:`Packed.put`."""
        self.bits[chains] = other.bits
        return self


_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_EXPONENT_AND_SIGN = {torch.float32: 9, torch.float64: 12}


def pack_upper_bits(c: Tensor, mantissa_bits: int) -> PackedUpperBits:
    """See :meth:`effebm_ext.NaturalCompression.pack`."""
    needed = _EXPONENT_AND_SIGN[c.dtype] + max(mantissa_bits, 1)  # NaN has one bit of mantissa
    size = 2 if needed <= 16 else 4 if needed <= 32 else 8
    all_bits = c.reshape(len(c), row_size(c)).contiguous().view(_INTEGERS[c.element_size()])
    below = 8 * c.element_size() - needed
    if (all_bits & ((1 << below) - 1)).any():
        raise ValueError(
            f"c: expected a tensor whose entries have {mantissa_bits} bits of mantissa, got more"
        )
    bits = (all_bits >> 8 * (c.element_size() - size)).to(_INTEGERS[size], copy=True)
    return PackedUpperBits(bits, c.dtype, tuple(c.shape[1:]))


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


def pack_entries(c: Tensor, k: int) -> PackedEntries:
    """See :meth:`effebm_ext.TopK.pack`."""
    values, indices, flags = _ENTRIES_PACK(c, k)
    if flags.item():
        raise ValueError(
            f"c: expected a tensor that has been compressed to {k} entries per chain, got more"
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
