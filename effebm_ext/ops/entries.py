"""What compressors that keep k entries of every chain have in common."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

from torch import Tensor

from effebm_ext.ops.checks import row_size
from effebm_ext.ops.compressor import CompressorArguments, FusedCompressor
from effebm_ext.ops.packing.entries import PackedEntries, pack_entries
from effebm_ext.ops.packing.packed import check_packable
from effebm_ext.scalars import as_float, as_int
from effebm_ext.shown import as_call


def checked_k(k: Any, dim: int) -> int:
    k = as_int(k, "k")
    if not 0 <= k <= dim:
        raise ValueError(f"k: expected 0 <= k <= {dim}, the elements of a row, got {k}")
    return k


@dataclasses.dataclass(frozen=True, init=False)
class KeepsEntries(FusedCompressor):
    """A compressor that keeps some entries of every chain; k and ratio are those of
    :class:`effebm_ext.TopK`."""

    k: int | None
    ratio: float | None

    def __init__(self, k: int | None = None, *, ratio: float | None = None) -> None:
        if (k is None) == (ratio is None):
            name = type(self).__name__
            raise TypeError(f"{name}: expected either k or ratio, got k={k} and ratio={ratio}")
        if k is not None:
            try:
                k = as_int(k, "k")
            except TypeError as error:
                raise TypeError(f"{error} (a fraction is ratio=)") from None
            if k < 0:
                raise ValueError(f"k: expected at least 0, got {k}")
        if ratio is not None:
            ratio = as_float(ratio, "ratio")
            if not 0 < ratio <= 1:
                raise ValueError(f"ratio: expected 0 < ratio <= 1, got {ratio}")
        object.__setattr__(self, "k", k)
        object.__setattr__(self, "ratio", ratio)

    __repr__ = as_call

    @classmethod
    def size_of(cls, text: str) -> dict[str, Any]:
        """Returns the arguments that a text stands for: only digits count entries, any other number
        is a ratio.

        Raises:
            ValueError: the text is no number, or is 0.

        Warns:
            UserWarning: the ratio is one, which keeps all entries.
        """
        if text.isascii() and text.isdigit():
            k = cls.number(text, int)
            if k == 0:
                raise ValueError(
                    "k: expected 1 entry or more, got 0, which leaves chains to the noise"
                )
            return {"k": k}
        ratio = cls.number(text, float)
        if ratio == 1:
            name = cls.name.replace("_", "-")
            warnings.warn(
                f"compressor: {name}:{text} is a ratio and keeps all entries; {name}:1 keeps one",
                stacklevel=2,  # one place, so that the warning is shown once for all callers
            )
        return {"ratio": ratio}

    def entries(self, dim: int) -> int:
        """Returns how many of ``dim`` entries are kept."""
        if self.ratio is None:
            return checked_k(self.k, dim)
        return min(dim, max(1, math.floor(self.ratio * dim + 0.5)))

    def kernel_arguments(self, x: Tensor) -> CompressorArguments:
        """See :meth:`FusedCompressor.kernel_arguments`."""
        return self.code, self.entries(row_size(x)), None


class PacksEntries(KeepsEntries):
    """A compressor that keeps entries anywhere in a chain, which are packed with their indices."""

    def pack(self, c: Tensor) -> PackedEntries:
        """Returns a tensor that this has compressed, or the drift of a transition, as values and
        indices; ``pack(c).unpack()`` is c, bit for bit.

        Args:
            c: float32 or float64 ``(n_chains, *event)``. On CUDA this waits for the device.

        Raises:
            TypeError: c has another dtype.
            ValueError: a chain of c has more entries that are not zero than this keeps.
            RuntimeError: a derivative by c is taken, or c is vmapped.
        """
        check_packable(c)
        return pack_entries(c, self.entries(row_size(c)))
