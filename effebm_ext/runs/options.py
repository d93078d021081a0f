"""Compressors and clips by name, as the command line and configurations give them."""

from __future__ import annotations

import re
import warnings

from effebm_ext.limits import ClipNorm, ClipValue
from effebm_ext.ops.block_sign import BlockSign
from effebm_ext.ops.compressor import FusedCompressor
from effebm_ext.ops.topk import TopK


def parse_compressor(text: str) -> FusedCompressor | None:
    """Parses ``none``, ``topk:0.1`` (a ratio), ``topk:16`` (entries) or ``block-sign:64``.

    A number of only digits counts entries, at least one: ``topk:1`` keeps one entry. Any other
    number is a ratio: ``topk:1.0`` keeps all.

    Raises:
        ValueError: the text is none of these.

    Warns:
        UserWarning: the ratio is one, which keeps all entries.
    """
    kind, _, size = text.partition(":")
    try:
        if text == "none":
            return None
        if kind == "topk":
            return _topk(size)
        if kind == "block-sign":
            return BlockSign(int(size))
    except ValueError as error:
        raise ValueError(f"compressor: {text!r}: {error}") from error
    raise ValueError(
        f"compressor: expected none, topk:RATIO, topk:K or block-sign:SIZE, got {text!r}"
    )


def parse_clip(text: str) -> ClipValue | ClipNorm | None:
    """Parses ``none``, ``value:5`` (a limit on every element) or ``norm:10`` (a limit on the norm
    of a chain's gradient).

    Raises:
        ValueError: the text is none of these.
    """
    if text == "none":
        return None
    kind, _, limit = text.partition(":")
    try:
        if kind == "value":
            return ClipValue(float(limit))
        if kind == "norm":
            return ClipNorm(float(limit))
    except ValueError as error:
        raise ValueError(f"clip: {text!r}: {error}") from error
    raise ValueError(f"clip: expected none, value:LIMIT or norm:LIMIT, got {text!r}")


def _topk(size: str) -> TopK:
    if not re.fullmatch("[0-9]+", size):
        compressor = TopK(ratio=float(size))
        if compressor.ratio == 1:
            warnings.warn(
                f"compressor: topk:{size} is a ratio and keeps all entries; topk:1 keeps one",
                stacklevel=2,  # one place, so that the warning is shown once for all callers
            )
        return compressor
    if int(size) == 0:
        raise ValueError("k: expected 1 entry or more, got 0, which leaves chains to the noise")
    return TopK(int(size))
