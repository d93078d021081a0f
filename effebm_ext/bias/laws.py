"""Which law holds for which compressor, with and without error feedback."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from effebm_ext.bias import feedback, plain
from effebm_ext.bias.linear import Linear, natural, random_k
from effebm_ext.ops.block_sign import BlockSign
from effebm_ext.ops.compressor import FusedCompressor
from effebm_ext.ops.natural import NaturalCompression
from effebm_ext.ops.random_block import RandomBlock
from effebm_ext.ops.random_k import RandomK
from effebm_ext.ops.topk import TopK

DIVERGES = "the chain diverges: its variance grows without bound"
HEAVY_TAILS = (
    "heavy tails: far out the density falls more slowly than the target's, of which the variance "
    "shows little"
)
_SHORT_ROW = 32  # up to which the laws of long rows were seen to miss over a tenth of the excess
OF_LONG_ROWS = (
    f"the law is that of long rows: in one of up to {_SHORT_ROW} entries the excess of a variance "
    "over the target's may be larger by more than a tenth of it"
)
_MOST_SIGN_VARIANCE = 1.25  # up to which the law of Block-Sign with feedback was seen to hold
_SMALLEST_MIXED_BLOCK = 64


class Law(NamedTuple):
    """``variances``: per curvature, relative to the target's; None: there is no closed form.
    ``largest_step_size`` and the words are those of :class:`effebm_ext.bias.PredictedBias`."""

    variances: Sequence[float] | None
    largest_step_size: float | None
    text: str
    warning: str = ""


class Chain(NamedTuple):
    """A chain of ``dim`` entries on a Gaussian whose curvatures have equal shares of them."""

    dim: int
    step_size: float
    curvatures: tuple[float, ...]
    error_feedback: bool
    temperature: float

    @property
    def has_one_scale(self) -> bool:
        return len(set(self.curvatures)) == 1


def law_of(compressor: FusedCompressor | None, chain: Chain) -> Law:
    """Returns the law of a chain.

    Raises:
        TypeError: no law is known for such a compressor.
    """
    match compressor:
        case TopK() | RandomK() | RandomBlock() if compressor.entries(chain.dim) == 0:
            return Law(None, 0.0, "no entry is kept", DIVERGES)
        case TopK() if compressor.entries(chain.dim) < chain.dim:
            return _topk(compressor.entries(chain.dim), chain)
        case BlockSign():
            return _blocks(compressor, chain)
        case RandomK():
            law = random_k(compressor, chain.dim, chain.error_feedback)
            return _linear([law], "Random-k, exact", chain)
        case RandomBlock():
            text = (
                "random blocks: the law without compression, exact where curvatures are of entries"
            )
            return _linear([Linear()], text, chain)
        case NaturalCompression():
            stds = [math.sqrt(c * chain.temperature) for c in chain.curvatures]
            laws = [natural(compressor, std, chain.error_feedback) for std in stds]
            return _linear(laws, "natural compression, nearly exact", chain)
        case None | TopK():
            return _linear([Linear()], "no compression, exact", chain)
    raise TypeError(
        "compressor: expected TopK, BlockSign, RandomK, RandomBlock, NaturalCompression or None, "
        f"of which a law is known, got {type(compressor).__name__}"
    )


def _linear(laws: list[Linear], text: str, chain: Chain) -> Law:
    """``laws``: one for all curvatures, or one for each."""
    pairs = list(zip(laws * (len(chain.curvatures) // len(laws)), chain.curvatures, strict=True))
    largest = min(law.largest_step_size(curvature) for law, curvature in pairs)
    if chain.step_size >= largest:
        return Law(None, largest, text, DIVERGES)
    return Law([law.variance(chain.step_size, c) for law, c in pairs], largest, text)


def _topk(k: int, chain: Chain) -> Law:
    ratio, spectrum = k / chain.dim, np.array(chain.curvatures)
    if chain.error_feedback:
        curvatures = torch.tensor(spectrum)
        largest = feedback.topk_largest_step_size(curvatures, ratio)
        text = "Top-k with feedback: a common threshold, with its first correction"
    else:
        largest, text = 4 / max(chain.curvatures), "Top-k without feedback, for small steps"
    if chain.step_size >= largest:
        return Law(None, largest, text, DIVERGES)
    warning = OF_LONG_ROWS if chain.dim <= _SHORT_ROW else ""
    if chain.error_feedback:
        variances = feedback.topk_variances(curvatures, ratio, chain.step_size)
        return Law(variances.tolist(), largest, text, warning)
    if chain.has_one_scale:
        variance = plain.TopKRow(k, chain.dim).var()
        return Law([variance] * len(spectrum), largest, f"{text}: the law of the row")
    relative = plain.FlatTops(spectrum, ratio).var() * spectrum
    return Law(relative.tolist(), largest, f"{text} and long rows", warning)


def _blocks(compressor: BlockSign, chain: Chain) -> Law:
    """The mean over all entries of the laws of their blocks."""
    sizes = _block_sizes(compressor, chain.dim)
    laws = {size: _block_sign(size, chain) for size in sizes}
    main = laws[max(sizes)]
    for law in laws.values():
        if law.variances is None:
            return law
    total = np.zeros(len(chain.curvatures))
    for size, count in sizes.items():
        total += size * count / chain.dim * np.array(laws[size].variances)
    return main._replace(variances=total.tolist())


def _block_sign(size: int, chain: Chain) -> Law:
    if size == 1:
        return _linear([Linear()], "blocks of one entry, which change nothing, exact", chain)
    return (_sign_with_feedback if chain.error_feedback else _plain_sign)(size, chain)


def _sign_with_feedback(size: int, chain: Chain) -> Law:
    text = "Block-Sign with feedback: residuals that wait beyond the mean magnitude"
    curvatures = torch.tensor(chain.curvatures, dtype=torch.float64)
    found = feedback.block_sign_variances(curvatures, size, chain.step_size).tolist()
    if max(found) <= _MOST_SIGN_VARIANCE:
        return Law(found, None, text, HEAVY_TAILS)
    warning = (
        f"no closed form where a variance is over {_MOST_SIGN_VARIANCE} times the target's, as it "
        "is at this step size; larger steps diverge"
    )
    return Law(None, None, text, warning)


def _plain_sign(size: int, chain: Chain) -> Law:
    largest, text = 4 / max(chain.curvatures), "Block-Sign without feedback, for small steps"
    if chain.step_size >= largest:
        return Law(None, largest, text, DIVERGES)
    if chain.has_one_scale:
        variance = plain.SignBlock(size).var()
        variances = [variance] * len(chain.curvatures)
        return Law(variances, largest, f"{text}: the law of the block", HEAVY_TAILS)
    if size < _SMALLEST_MIXED_BLOCK:
        warning = (
            "no closed form for several curvatures in blocks of fewer than "
            f"{_SMALLEST_MIXED_BLOCK} entries, got blocks of {size}"
        )
        return Law(None, largest, text, warning)
    variance = plain.sign_variance(np.array(chain.curvatures))
    relative = [variance * c for c in chain.curvatures]
    return Law(relative, largest, f"{text} and large blocks", HEAVY_TAILS)


def _block_sizes(compressor: BlockSign, dim: int) -> dict[int, int]:
    """Returns how many blocks of each size a row has."""
    size, _ = compressor.blocks(torch.empty(1, dim, device="meta"))
    if compressor.block_offsets is not None:
        return Counter(b - a for a, b in itertools.pairwise(compressor.block_offsets))
    return Counter(min(size, dim - start) for start in range(0, dim, size))
