"""Compressors of a gradient, as values: what to keep, not yet applied to anything."""

from __future__ import annotations

import dataclasses
import math

from torch import Tensor

from effebm_ext import _C
from effebm_ext.ops.block_sign import block_sign_compress, check_block_size
from effebm_ext.ops.checks import row_size
from effebm_ext.ops.topk import check_k, topk_compress


@dataclasses.dataclass(frozen=True, init=False)
class TopK:
    """Keep the entries of largest magnitude of every chain's gradient.

    Args:
        k: entries to keep per chain; or
        ratio: the fraction to keep, ``0 < ratio <= 1``: ``max(1, round_half_up(ratio * d))`` of
            ``d`` entries.

    Raises:
        TypeError: both or neither of k and ratio are given, or k is not an int.
        ValueError: k is negative, or ratio is outside (0, 1].
    """

    k: int | None
    ratio: float | None

    def __init__(self, k: int | None = None, *, ratio: float | None = None) -> None:
        if (k is None) == (ratio is None):
            raise TypeError(f"TopK: expected either k or ratio, got k={k} and ratio={ratio}")
        if k is not None and (not isinstance(k, int) or isinstance(k, bool)):
            raise TypeError(f"k: expected an int, got {type(k).__name__} (a fraction is ratio=)")
        if k is not None and k < 0:
            raise ValueError(f"k: expected at least 0, got {k}")
        if ratio is not None and not 0 < ratio <= 1:
            raise ValueError(f"ratio: expected 0 < ratio <= 1, got {ratio}")
        object.__setattr__(self, "k", k)
        object.__setattr__(self, "ratio", ratio)

    def entries(self, dim: int) -> int:
        """How many of ``dim`` entries are kept."""
        if self.ratio is None:
            assert self.k is not None
            check_k(self.k, dim)
            return self.k
        return min(dim, max(1, math.floor(self.ratio * dim + 0.5)))

    def compress(self, x: Tensor) -> Tensor:
        """See :func:`effebm_ext.topk_compress`."""
        return topk_compress(x, self.entries(row_size(x)))

    def kernel_arguments(self, dim: int) -> tuple[int, int]:
        """The code and size by which the fused op knows this compressor, for chains of ``dim``."""
        return _C.COMPRESSOR_TOPK, self.entries(dim)


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

    def kernel_arguments(self, dim: int) -> tuple[int, int]:
        """The code and size by which the fused op knows this compressor."""
        return _C.COMPRESSOR_BLOCK_SIGN, self.block_size


Compressor = TopK | BlockSign


def parse_compressor(text: str) -> Compressor | None:
    """``none``, ``topk:0.1`` (a ratio), ``topk:16`` (entries) or ``block-sign:64``.

    Raises:
        ValueError: the text is none of these.
    """
    kind, _, size = text.partition(":")
    try:
        if text == "none":
            return None
        if kind == "topk":
            return TopK(int(size)) if size.isdigit() else TopK(ratio=float(size))
        if kind == "block-sign":
            return BlockSign(int(size))
    except ValueError as error:
        raise ValueError(f"compressor: {text!r}: {error}") from error
    raise ValueError(
        f"compressor: expected none, topk:RATIO, topk:K or block-sign:SIZE, got {text!r}"
    )
