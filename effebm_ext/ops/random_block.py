"""Random-block: keep, or move, k neighbouring entries of every row from a random one on."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from effebm_ext.ops.checks import row_size
from effebm_ext.ops.compressor import NO_KEY, KeyArguments
from effebm_ext.ops.entries import KeepsEntries
from effebm_ext.ops.packing.block import PackedBlock, pack_block
from effebm_ext.ops.packing.packed import check_packable
from effebm_ext.reference import random_words
from effebm_ext.rng import COMPRESSION
from effebm_ext.shown import as_call


@dataclasses.dataclass(frozen=True, init=False)
class RandomBlock(KeepsEntries):
    """Keep k neighbouring entries of every chain's gradient, zero the rest.

    The block begins at entry ``floor(w d / 2**32)`` of the d entries of a chain, where w is the
    random word of the chain's first entry (docs/numerics.md); the first entry follows the last one.
    Every entry is kept with the probability k/d.

    A Langevin step with this compressor *moves the block only*: drift and noise belong to its k
    entries, the others stay as they are, and a step in place does not touch their memory. This is
    random coordinate Langevin Monte Carlo (Ding, Li, Lu and Wright 2021, arXiv 2010.01405) with
    blocks of coordinates. The block does not depend on the state, so :class:`effebm_ext.MALA` and
    weights are exact with it, and proposals of k entries are accepted at larger step sizes than
    those of d.

    Args:
        k: entries to keep per chain; or
        ratio: the fraction to keep, as of :class:`effebm_ext.TopK`.

    Raises:
        TypeError, ValueError: as :class:`effebm_ext.TopK`.
    """

    name = "random_block"
    text_form = "random-block:RATIO, random-block:K"
    is_random = True
    moves_kept = True

    __repr__ = as_call

    @classmethod
    def parse(cls, text: str) -> RandomBlock:
        """See :meth:`FusedCompressor.parse`: ``0.1`` is a ratio, ``16`` a number of entries."""
        return cls(**cls.size_of(text))

    @property
    def shrinks(self) -> bool:
        return False  # a step moves no other entries, which cannot make up for what it dropped

    def vjp(self, u: Tensor, v: Tensor, key: KeyArguments = NO_KEY) -> Tensor:
        """See :meth:`FusedCompressor.vjp`: ``v`` where entries are kept."""
        return torch.where(self.kept(u, key), v, 0)

    def pack(self, c: Tensor) -> PackedBlock:
        """Returns a tensor that this has compressed, or the drift of a transition, as k values per
        chain and the place of the first one, without indices; ``pack(c).unpack()`` is c, bit for
        bit.

        Args:
            c: float32 or float64 ``(n_chains, *event)``. On CUDA this waits for the device.

        Raises:
            TypeError: c has another dtype.
            ValueError: the entries of a chain that are not zero do not lie in one block.
            RuntimeError: a derivative by c is taken, or c is vmapped.
        """
        check_packable(c)
        return pack_block(c, self.entries(row_size(c)))

    def reference(self, u: Tensor, seed: int, offset: int, first_chain: int) -> Tensor:
        """See :meth:`FusedCompressor.reference`."""
        n, dim = len(u), row_size(u)
        words = random_words(n, 1, seed, offset, first_chain, COMPRESSION)[:, 0, 0]
        starts = words * dim >> 32  # of rows below 2**31 entries
        kept = (torch.arange(dim) - starts[:, None]) % max(dim, 1) < self.entries(dim)
        return torch.where(kept.reshape(u.shape), u, 0)
