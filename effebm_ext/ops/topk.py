"""Top-k: keep the k entries of largest magnitude of every row."""

from __future__ import annotations

import torch
from torch import Tensor

from effebm_ext.ops.checks import check_state, is_differentiated, row_size
from effebm_ext.ops.compressor import COMPRESS, NO_KEY, KeyArguments
from effebm_ext.ops.entries import PacksEntries, checked_k
from effebm_ext.transforms import is_transformed


def topk_compress(x: Tensor, k: int) -> Tensor:
    """Keep exactly the ``k`` entries of largest magnitude of every row, zero the rest.

    Ties go to the lower index; ``-0`` equals ``+0``, denormals count, NaN ranks above infinity.
    Top-k sparsification as in EFF-EBM, Algorithm 1. Differentiable almost everywhere, in
    reverse and in forward mode: by the mask of the kept entries. ``torch.vmap`` folds its axis into
    the chains.

    Args:
        x: float32, float64, bfloat16 or float16 ``(n_chains, *event)``, any strides.
        k: entries to keep per row, ``0 <= k <= d`` with ``d`` the elements of a row.

    Returns:
        A new contiguous tensor of x's shape and dtype.

    Raises:
        TypeError: x is not a tensor of one of these dtypes, or k is not an int.
        ValueError: k is out of range, or x has no axes.
        RuntimeError: x is on a device this build has no kernels for.
    """
    check_state(x)
    k = checked_k(k, row_size(x))
    if is_transformed() or is_differentiated(x):
        return TopK(k).compress(x)
    return COMPRESS(x, TopK.code, k)  # a TopK takes as long to make as the op


class TopK(PacksEntries):
    """Keep the entries of largest magnitude of every chain's gradient, as
    :func:`effebm_ext.topk_compress` does.

    Args:
        k: entries to keep per chain; or
        ratio: the fraction to keep, ``0 < ratio <= 1``: ``max(1, round_half_up(ratio * d))`` of
            ``d`` entries.

    Raises:
        TypeError: both or neither of k and ratio are given, k is not an int, or ratio is not a
            number.
        ValueError: k is negative, or ratio is outside (0, 1].
    """

    name = "topk"
    text_form = "topk:RATIO, topk:K"

    @classmethod
    def parse(cls, text: str) -> TopK:
        """See :meth:`FusedCompressor.parse`: ``0.1`` is a ratio, ``16`` a number of entries."""
        return cls(**cls.size_of(text))

    def vjp(self, u: Tensor, v: Tensor, key: KeyArguments = NO_KEY) -> Tensor:
        """See :meth:`FusedCompressor.vjp`: ``v`` at the kept entries."""
        rows = u.reshape(len(u), row_size(u))
        found = self.compress(rows) != 0
        # Of a row with too few other entries, the first zeros are kept.
        zero = rows == 0
        kept = found | (zero & (zero.cumsum(1) <= self.entries(row_size(u)) - found.sum(1, True)))
        return torch.where(kept.reshape(u.shape), v, 0)

    def reference(self, u: Tensor, seed: int, offset: int, first_chain: int) -> Tensor:
        """See :meth:`FusedCompressor.reference`."""
        return topk_compress_reference(u, self.entries(row_size(u)))


def topk_compress_reference(x: Tensor, k: int) -> Tensor:
    """The same in plain PyTorch: a stable sort of the magnitudes as integers."""
    rows = x.reshape(x.shape[0], row_size(x))
    integer = {4: torch.int32, 8: torch.int64, 2: torch.int16}[x.element_size()]
    keys = rows.contiguous().abs().view(integer)
    keys = torch.where(rows.isnan(), torch.iinfo(integer).max, keys)
    kept = keys.argsort(dim=1, descending=True, stable=True)[:, :k]
    out = torch.zeros_like(rows, memory_format=torch.contiguous_format)
    return out.scatter(1, kept, rows.gather(1, kept)).reshape(x.shape)
