"""Random-k: keep k random entries of every row."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from effebm_ext import _C
from effebm_ext.ops.checks import compute_dtype, row_size
from effebm_ext.ops.compressor import COMPRESS, NO_KEY, CompressorArguments, KeyArguments
from effebm_ext.ops.entries import PacksEntries
from effebm_ext.reference import random_words
from effebm_ext.rng import COMPRESSION
from effebm_ext.shown import as_call


@dataclasses.dataclass(frozen=True, init=False)
class RandomK(PacksEntries):
    """Keep k random entries of every chain's gradient, all subsets being as likely, zero the rest.

    The entries with the largest random words are kept (docs/numerics.md). For d entries the kept
    ones are multiplied by d/k, so that the mean of ``C(u)`` is u and the mean of ``|C(u) - u|**2``
    is ``(d/k - 1) * |u|**2`` (Rand-k of Stich et al., arXiv 1809.07599, there without the factor).
    In a Langevin step the error adds noise to every entry, of variance
    ``(step_size / 2)**2 * (d/k - 1) * u**2``. ``compress`` is linear for a given draw, and its
    derivative is taken so.

    Args:
        k: entries to keep per chain; or
        ratio: the fraction to keep, ``0 < ratio <= 1``: ``max(1, round_half_up(ratio * d))`` of
            ``d`` entries.
        unbiased: False leaves out the factor d/k, as error feedback needs.

    Raises:
        TypeError: both or neither of k and ratio are given, k is not an int, ratio is not a
            number, or unbiased is not a bool.
        ValueError: k is negative, or ratio is outside (0, 1].
    """

    name = "random_k"
    text_form = "random-k:RATIO, random-k:K (and :biased)"
    is_random = True

    unbiased: bool

    def __init__(
        self, k: int | None = None, *, ratio: float | None = None, unbiased: bool = True
    ) -> None:
        super().__init__(k, ratio=ratio)
        if not isinstance(unbiased, bool):
            raise TypeError(f"unbiased: expected a bool, got {type(unbiased).__name__}")
        object.__setattr__(self, "unbiased", unbiased)

    __repr__ = as_call

    @classmethod
    def parse(cls, text: str) -> RandomK:
        """See :meth:`FusedCompressor.parse`: ``0.1`` is a ratio, ``16`` a number of entries;
        ``:biased`` leaves out the factor d/k."""
        size, colon, how = text.partition(":")
        if colon and how != "biased":
            raise ValueError(f"expected biased or nothing after the size, got {how!r}")
        return cls(**cls.size_of(size), unbiased=not colon)

    @property
    def shrinks(self) -> bool:
        return not self.unbiased

    def kernel_arguments(self, x: Tensor) -> CompressorArguments:
        """See :meth:`FusedCompressor.kernel_arguments`."""
        code = self.code if self.unbiased else _C.COMPRESSORS["biased_random_k"]
        return code, self.entries(row_size(x)), None

    def vjp(self, u: Tensor, v: Tensor, key: KeyArguments = NO_KEY) -> Tensor:
        """See :meth:`FusedCompressor.vjp`: ``v`` times what the entries of u are multiplied by."""
        ones = torch.ones_like(u, dtype=compute_dtype(u.dtype))
        factors = COMPRESS(ones, *self.kernel_arguments(u), *key)
        return (v.to(factors.dtype) * factors).to(v.dtype)

    def reference(self, u: Tensor, seed: int, offset: int, first_chain: int) -> Tensor:
        """See :meth:`FusedCompressor.reference`."""
        rows = u.reshape(u.shape[0], row_size(u))
        n, dim = rows.shape
        words = random_words(n, dim, seed, offset, first_chain, COMPRESSION).flatten(1)[:, :dim]
        order = (words >> 2).argsort(dim=1, descending=True, stable=True)
        k = self.entries(dim)
        dtype = compute_dtype(u.dtype)
        factor = torch.tensor(dim if self.unbiased and k else 1, dtype=dtype)
        factor = factor / (k if self.unbiased and k else 1)
        kept = torch.zeros_like(rows, dtype=torch.bool).scatter_(1, order[:, :k], True)
        c = torch.where(kept, rows.to(dtype) * factor, 0)
        return c.to(u.dtype).reshape(u.shape)
