"""Compressors, clips and bounds by name, as the command line and configurations give them."""

from __future__ import annotations

import math

from effebm_ext import _C
from effebm_ext.limits import ClipNorm, ClipValue
from effebm_ext.ops.compressor import FusedCompressor
from effebm_ext.runs.did_you_mean import did_you_mean

# In the order of the kernels' list.
_KNOWN = [FusedCompressor.known[name] for name in _C.COMPRESSORS if name in FusedCompressor.known]
COMPRESSOR_FORMS = ", ".join(compressor.text_form for compressor in _KNOWN)
_CLIPS: dict[str, type[ClipValue | ClipNorm]] = {"value": ClipValue, "norm": ClipNorm}


def parse_compressor(text: str) -> FusedCompressor | None:
    """Parses ``none`` or a compressor by its name, such as ``topk:0.1`` (a ratio), ``topk:16``
    (entries), ``block-sign:64``, ``random-k:0.1`` or ``natural``.

    Raises:
        ValueError: the text is none of these.

    Warns:
        UserWarning: a ratio is one, which keeps all entries.
    """
    if text == "none":
        return None
    name, _, rest = text.partition(":")
    known = FusedCompressor.known.get(name.replace("-", "_"))
    if known is None or "_" in name:
        names = ["none", *(known.replace("_", "-") for known in FusedCompressor.known)]
        meant = did_you_mean(name, names, f"{{}}:{rest}" if rest else "{}")
        raise ValueError(f"compressor: expected none, {COMPRESSOR_FORMS}, got {text!r}{meant}")
    try:
        return known.parse(rest)
    except ValueError as error:
        raise ValueError(f"compressor: {text!r}: {error}") from error


def parse_clip(text: str) -> ClipValue | ClipNorm | None:
    """Parses ``none``, ``value:5`` (a limit on every element) or ``norm:10`` (a limit on the norm
    of a chain's gradient).

    Raises:
        ValueError: the text is none of these.
    """
    if text == "none":
        return None
    kind, _, limit = text.partition(":")
    if kind not in _CLIPS:
        meant = did_you_mean(kind, _CLIPS, f"{{}}:{limit or 'LIMIT'}")
        raise ValueError(f"clip: expected none, value:LIMIT or norm:LIMIT, got {text!r}{meant}")
    try:
        number = float(limit)
    except ValueError:
        raise ValueError(f"clip: {text!r}: expected {kind}:LIMIT") from None
    try:
        return _CLIPS[kind](number)
    except ValueError as error:
        raise ValueError(f"clip: {text!r}: {error}") from error


def parse_bounds(text: str) -> tuple[float, float] | None:
    """Parses ``none``, or a lower and an upper limit such as ``-1:1``.

    Raises:
        ValueError: the text is none of these, or the lower limit is not below the upper.
    """
    if text == "none":
        return None
    low, _, high = text.partition(":")
    try:
        bounds = float(low), float(high)
    except ValueError:
        bounds = math.nan, math.nan
    if not -math.inf < bounds[0] < bounds[1] < math.inf:
        raise ValueError(f"bounds: expected none or LOW:HIGH, with LOW < HIGH, got {text!r}")
    return bounds
