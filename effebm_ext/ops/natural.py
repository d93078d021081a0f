"""Natural compression: every entry loses bits of its mantissa by random rounding."""

from __future__ import annotations

import dataclasses

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
from effebm_ext.ops.packing.upper_bits import PackedUpperBits, pack_upper_bits
from effebm_ext.reference import random_words
from effebm_ext.rng import COMPRESSION
from effebm_ext.scalars import as_int
from effebm_ext.shown import as_call

_MOST_BITS = 22  # below the 23 of float32


@dataclasses.dataclass(frozen=True)
class NaturalCompression(FusedCompressor):
    """Round every entry of the gradient at random to one of its two neighbours with
    ``mantissa_bits`` bits of mantissa, so that the mean of ``C(u)`` is u.

    With 0 bits the neighbours are powers of two, and the mean of ``|C(u) - u|**2`` is at most
    ``|u|**2 / 8`` (natural compression, Horvath et al., arXiv 1905.10988); with m bits an entry
    ``u = (1 + f) 2**e`` has the variance ``r (s - r)``, where ``s = 2**(e - m)`` is the distance of
    the neighbours and r the distance to the lower one. Zeros and infinities stay, every NaN becomes
    torch.nan, and a number beyond the largest of the short ones becomes this one. Probabilities are
    multiples of 2**-32.

    ``compress`` is a step function for a given draw. The derivative is the identity, which is the
    derivative of the mean.

    Args:
        mantissa_bits: 0 to 22.

    Raises:
        TypeError: mantissa_bits is not an int.
        ValueError: mantissa_bits is out of range.
    """

    name = "natural"
    text_form = "natural, natural:MANTISSA_BITS"
    is_random = True

    mantissa_bits: int = 0

    __repr__ = as_call

    def __post_init__(self) -> None:
        bits = as_int(self.mantissa_bits, "mantissa_bits")
        if not 0 <= bits <= _MOST_BITS:
            raise ValueError(f"mantissa_bits: expected 0 to {_MOST_BITS}, got {bits}")
        object.__setattr__(self, "mantissa_bits", bits)

    @classmethod
    def parse(cls, text: str) -> NaturalCompression:
        """See :meth:`FusedCompressor.parse`: nothing, or the bits of mantissa."""
        return cls(cls.number(text, int)) if text else cls()

    def kernel_arguments(self, x: Tensor) -> CompressorArguments:
        """See :meth:`FusedCompressor.kernel_arguments`."""
        return self.code, self.mantissa_bits, None

    def vjp(self, u: Tensor, v: Tensor, key: KeyArguments = NO_KEY) -> Tensor:
        """See :meth:`FusedCompressor.vjp`: ``v``."""
        return v

    def pack(self, c: Tensor) -> PackedUpperBits:
        """Returns a tensor that this has compressed, or the drift of a transition, by the upper 16
        bits of its entries, or 32 where these have more bits; ``pack(c).unpack()`` is c, bit for
        bit.

        Args:
            c: float32 or float64 ``(n_chains, *event)``. On CUDA this waits for the device.

        Raises:
            TypeError: c has another dtype.
            ValueError: an entry of c has more bits of mantissa than this keeps.
            RuntimeError: a derivative by c is taken, or c is vmapped.
        """
        check_packable(c)
        return pack_upper_bits(c, self.mantissa_bits)

    def reference(self, u: Tensor, seed: int, offset: int, first_chain: int) -> Tensor:
        """See :meth:`FusedCompressor.reference`."""
        dtype = compute_dtype(u.dtype)
        rows = u.reshape(u.shape[0], row_size(u)).to(dtype).contiguous()
        n, dim = rows.shape
        words = random_words(n, dim, seed, offset, first_chain, COMPRESSION).flatten(1)[:, :dim]
        integer, mantissa = {4: (torch.int32, 23), 8: (torch.int64, 52)}[rows.element_size()]
        dropped = mantissa - self.mantissa_bits
        magnitude = rows.abs().view(integer).long()
        random = words >> (32 - dropped)
        if dropped > 32:  # the middle of the numbers that have these upper bits
            random = (words << (dropped - 32)) + (1 << (dropped - 33))
        rounded = (magnitude + random) >> dropped << dropped
        infinity = torch.tensor(torch.inf, dtype=dtype).view(integer).long()
        rounded = rounded.minimum(infinity - (1 << dropped))
        short = torch.copysign(rounded.to(integer).view(dtype), rows)
        c = torch.where(rows.isinf(), rows, short.where(~rows.isnan(), torch.nan))
        return c.to(u.dtype).reshape(u.shape)
