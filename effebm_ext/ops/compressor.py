"""Compressors: those that the kernels know, and any function of a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

from torch import Tensor

from effebm_ext.ops.packing import Packed


class FusedCompressor:
    """A compressor that the kernels know, so that it is a part of the fused step."""

    def compress(self, x: Tensor) -> Tensor:
        """``C(x)``, a new contiguous tensor of x's shape and dtype, ``(n_chains, *event)``."""
        raise NotImplementedError

    def vjp(self, u: Tensor, v: Tensor) -> Tensor:
        """``v`` times the derivative of :meth:`compress` at ``u``, a symmetric matrix."""
        raise NotImplementedError

    def pack(self, c: Tensor) -> Packed:
        """A tensor that this has compressed, in less memory; ``pack(c).unpack()`` is c, bit for
        bit."""
        raise NotImplementedError

    def kernel_arguments(self, x: Tensor) -> tuple[int, int, Tensor | None]:
        """The code, the size and the block offsets by which the ops know this compressor, for
        chains like those of ``x``."""
        raise NotImplementedError


Compressor = FusedCompressor | Callable[[Tensor], Tensor]


def is_black_box(compressor: Compressor | None) -> TypeGuard[Callable[[Tensor], Tensor]]:
    """Tells whether a compressor is a function, of which the kernels know nothing."""
    return callable(compressor)
