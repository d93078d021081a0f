"""What Random-Block compressed: the entries of one block per chain."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from effebm_ext.ops.checks import row_size
from effebm_ext.ops.packing.packed import Packed
from effebm_ext.shown import as_call


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
