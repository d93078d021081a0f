"""What natural compression left of every entry: the upper bits."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from effebm_ext.ops.checks import row_size
from effebm_ext.ops.packing.packed import Packed
from effebm_ext.shown import as_call


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
