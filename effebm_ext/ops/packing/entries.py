"""What Top-k or Random-k compressed: the kept entries and their indices."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from effebm_ext.ops.checks import row_size
from effebm_ext.ops.packing.packed import Packed
from effebm_ext.shown import as_call

_SMALL_INDEX = 2**15
_ENTRIES_PACK = torch.ops.effebm.entries_pack.default


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


@torch.library.register_fake("effebm::entries_pack")
def _(c: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    shape = (c.shape[0], k)
    indices = c.new_empty(shape, dtype=torch.int32)
    return c.new_empty(shape), indices, c.new_empty((1,), dtype=torch.int32)
