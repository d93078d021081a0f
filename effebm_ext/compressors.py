"""Compressors by name, as the command line and configurations give them."""

from __future__ import annotations

from effebm_ext.ops.block_sign import BlockSign
from effebm_ext.ops.step_arguments import FusedCompressor
from effebm_ext.ops.topk import TopK


def parse_compressor(text: str) -> FusedCompressor | None:
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
