"""What ``kernels.py`` takes on the command line, and what it measures unless told otherwise."""

from __future__ import annotations

import click
import torch
from arms import Case
from targets import LARGE

HEADLINE = "256x3072"
TINY = "16x64"
DTYPES = ("float32", "bfloat16", "float64", "float16")

# Rows that share a warp, that have some warps, and that are too long for registers; the ones that
# tell most come first, as a run may have to end early.
_CUDA_DIMS = (3072, 256, 50_000, 800_000, 10_000_000, 16_384, 64, 1024)
SHAPES = {
    "cpu": f"{TINY},4096x64,64x784,{HEADLINE},4096x784,1x100000,16x196608,4096x2048,1x1000000,"
    "1x10000000",
    "cuda": ",".join(f"{-(-LARGE // dim)}x{dim}" for dim in _CUDA_DIMS),
}


def parse_shapes(text: str) -> list[tuple[int, int]]:
    shapes = []
    for shape in text.split(","):
        try:
            rows, dim = (int(n) for n in shape.split("x"))
        except ValueError:
            rows = dim = 0
        if min(rows, dim) <= 0:
            expected = f"expected ROWSxDIM,... like {HEADLINE},{TINY}"
            raise click.BadParameter(f"{expected}, got {text!r}")
        shapes.append((rows, dim))
    return shapes


def shapes_option(_context: object, _option: object, text: str | None) -> list[tuple[int, int]]:
    return parse_shapes(text) if text else []


def threads_option(_context: object, _option: object, text: str | None) -> list[int]:
    try:
        threads = [int(n) for n in text.split(",")] if text else [torch.get_num_threads()]
        if min(threads) > 0:
            return threads
    except ValueError:
        pass
    raise click.BadParameter(f"expected numbers like 1,2, got {text!r}")


def ops_option(_context: object, _option: object, text: str) -> list[str]:
    ops = text.split(",")
    for op in ops:
        try:
            Case(op, 1, 1).compressor  # noqa: B018  (parses it)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return ops
