"""Random arguments of the ops: as callers may write them, as the kernels understand them, and some
that must be refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
from helpers import DTYPES, INF, NAN, SPECIAL
from torch import Tensor

import effebm_ext as eff
from effebm_ext import _C
from effebm_ext.ops.block_sign import block_sign_compress_reference
from effebm_ext.ops.topk import topk_compress_reference

CODES = _C.COMPRESSORS
EVENTS = [(), (1,), (2,), (7,), (33,), (4, 5), (2, 3, 4), (1030,), (0,), (3, 0)]
INTEGER_KINDS = [int, np.int64, np.array, torch.tensor]
NUMBER_KINDS = [
    *(float, np.float64, np.float32, np.float16, np.array),
    *(Fraction, lambda v: int(v), lambda v: np.int32(v)),
    lambda v: np.array(v, dtype=np.float32),
]
BAD_INTEGERS = [1.5, "2", True, np.float32(2), [2], np.array([2]), torch.tensor(2.0)]
BAD_NUMBERS = [
    *("0.1", True, np.True_, 1j, [0.1], np.array([0.1]), np.array("a")),
    *(-0.1, NAN, INF, np.float32(-1), np.float16(NAN), 10**400),
    *(torch.tensor(True), torch.tensor(1j), torch.zeros(2, 2, 2, 2, 2)),
]


class Argument(NamedTuple):
    """``make()`` gives it as a caller writes it. ``means`` is what the references are given, and
    None where it must be refused."""

    make: Callable[[], Any]
    means: Any


NOTHING = Argument(lambda: None, None)


def dtype_and_shape(draw: random.Random) -> tuple[torch.dtype, tuple[int, ...]]:
    if draw.random() < 0.02:
        return draw.choice(DTYPES), (3, 40_000)
    return draw.choice(DTYPES), (draw.choice([0, 1, 1, 2, 3, 5, 17]), *draw.choice(EVENTS))


def values(draw: random.Random, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(draw.randrange(2**63))
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    kind = draw.choice(["normal", "normal", "ties", "special", "zeros", "huge", "tiny"])
    if kind == "ties":
        normal = normal.round()
    if kind == "special":
        special = SPECIAL[torch.randint(len(SPECIAL), shape, generator=generator)]
        rare = torch.rand(shape, generator=generator) < draw.choice([0.1, 1.0])
        normal = torch.where(rare, special, normal)
    if kind == "zeros":
        normal = normal.sign() * 0
    scales = {torch.float64: 1e100, torch.float32: 1e30, torch.bfloat16: 1e30, torch.float16: 1e4}
    if kind == "huge":
        normal = normal * scales[dtype]
    if kind == "tiny":
        normal = normal * 1e-310 if dtype == torch.float64 else normal * 1e-40
    return normal.to(dtype)


def integer(draw: random.Random, value: int) -> Any:
    return draw.choice(INTEGER_KINDS)(value) if -(2**63) <= value < 2**63 else value


def number(draw: random.Random, n_chains: int, dtype: torch.dtype, *, bad: bool) -> Argument:
    """Of a step size or a standard deviation; ``dtype`` is the compute dtype."""
    if bad:
        value = draw.choice([*BAD_NUMBERS, torch.zeros(n_chains + 1)])
        return Argument(lambda: value, None)
    size = draw.choice([0.0, 0.25, 0.25, 1.0, 2.5, 1e-3, 1e4, -0.0])
    kind = draw.choice(["number", "number", "tensor", "tensors"])
    if kind == "number":
        value = draw.choice(NUMBER_KINDS)(size)
        return Argument(lambda: value, float(value))
    of = draw.choice([torch.float32, torch.float64, torch.bfloat16])
    if kind == "tensor":
        tensor = torch.tensor(size, dtype=of)
    else:
        tensor = torch.linspace(0, size, 2 * n_chains, dtype=of)[:: draw.choice([1, 2])][:n_chains]
        tensor = draw.choice([tensor, tensor.contiguous(), tensor[:1].expand(n_chains)])
    return Argument(lambda: tensor, tensor.to(dtype))


def elements(draw: random.Random, shape: tuple[int, ...], dtype: torch.dtype) -> Argument:
    """Of a step size or a standard deviation for each element, shared by the chains or not."""
    rows = draw.choice([1, shape[0]]) if len(shape) > 1 else shape[0]
    of = draw.choice([torch.float32, torch.float64, torch.bfloat16])
    generator = torch.Generator().manual_seed(draw.randrange(2**63))
    tensor = torch.randint(0, 4, (rows, *shape[1:]), generator=generator).to(of) / 4
    tensor = draw.choice([tensor, tensor[:1].expand_as(tensor), tensor.mT.contiguous().mT
                          if len(shape) > 1 else tensor])  # fmt: skip
    return Argument(lambda: tensor, tensor.to(dtype))


class Stream(NamedTuple):
    seed: int
    offset: int
    first_chain: int


def rng(draw: random.Random, n_chains: int, *, bad: bool) -> Argument:
    """``means`` is a Stream."""
    last = 2**32 - max(n_chains, 1)
    if bad:
        return Argument(draw.choice([
            lambda: 0, lambda: "seed", lambda: np.random.default_rng(0),
            lambda: eff.Key(2**64), lambda: eff.Key(-(2**63) - 1), lambda: eff.Key(True),
            lambda: eff.Key(1.0), lambda: eff.Key(0, 2**56), lambda: eff.Key(0, -1),
            lambda: eff.Key(0, first_chain=last + 1),
            lambda: eff.Key(0).at(-1), lambda: eff.Key(0).at(1.0), lambda: eff.Key(0, 9).at("1"),
        ]), None)  # fmt: skip
    seed = draw.choice([0, 1, -1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), draw.randrange(2**64)])
    kind = draw.choice(["key", "key", "key", "key", "generator", "default"])
    if kind == "key":
        offset = draw.choice([0, 2**32 - 1, 2**32, 2**56 - 1, draw.randrange(2**56)])
        first = draw.choice([0, 3, last])
        step = draw.choice([0, offset])
        parts = [integer(draw, part) for part in (seed, offset - step, first)]
        at = integer(draw, step)
        return Argument(lambda: eff.Key(*parts).at(at), Stream(seed, offset, first))
    small = seed % 2**32
    twin = torch.Generator().manual_seed(small)
    key = torch.randint(-(2**63), 2**63 - 1, (2,), dtype=torch.int64, generator=twin)
    stream = Stream(*key.tolist(), 0)
    if kind == "generator":
        return Argument(lambda: torch.Generator().manual_seed(small), stream)
    return Argument(lambda: torch.manual_seed(small) and None, stream)


class Known(NamedTuple):
    """A compressor: what it makes of u and a stream in plain PyTorch; its code, size and offsets;
    whether its error may be fed back; and which entries a step moves, if not all."""

    compress: Callable[[Tensor, Stream], Tensor]
    codes: tuple[int, int, list[int] | None]
    shrinks: bool = True
    moves: Callable[[Tensor, Stream], Tensor] | None = None

    def __repr__(self) -> str:
        return str(self.codes)


def compressor(draw: random.Random, dim: int, *, bad: bool, known: bool = False) -> Argument:
    """``means`` is a Known, whose code is -1 for a function; ``known`` leaves these out."""
    if bad:
        value = draw.choice([
            lambda: "topk", lambda: 3, lambda: eff.TopK(dim + 1), lambda: eff.TopK(-1),
            lambda: eff.TopK(draw.choice(BAD_INTEGERS)), lambda: eff.TopK(ratio=1.5),
            lambda: eff.TopK(ratio="0.5"), lambda: eff.TopK(), lambda: eff.TopK(1, ratio=0.5),
            lambda: eff.BlockSign(0), lambda: eff.BlockSign(draw.choice(BAD_INTEGERS)),
            lambda: eff.BlockSign(2**63), lambda: eff.BlockSign(block_offsets=[0, dim + 1]),
            lambda: eff.BlockSign(block_offsets=[1, dim + 2]),
            lambda: eff.BlockSign(block_offsets=[0, dim + 5, dim + 5]),
            lambda: eff.BlockSign(block_offsets=torch.tensor([0.0, dim + 1])),
            lambda: eff.BlockSign(block_offsets=np.array([[0, dim]])),
            lambda: eff.RandomBlock(dim + 1), lambda: eff.RandomBlock(ratio=0),
            lambda: eff.RandomK(dim + 1), lambda: eff.RandomK(1, unbiased=1), lambda: eff.RandomK(),
            lambda: eff.NaturalCompression(23), lambda: eff.NaturalCompression(-1),
            lambda: eff.NaturalCompression(draw.choice(BAD_INTEGERS)),
            lambda: lambda u: None, lambda: lambda u: u[None], lambda: lambda u: u.bfloat16(),
        ])  # fmt: skip
        return Argument(value, None)
    kinds = ["topk", "ratio", "blocks", "offsets", "random", "block", "natural"]
    kind = draw.choice([*kinds, *["function"] * (not known)])
    if kind == "topk":
        k = draw.choice([0, min(1, dim), dim // 2, dim])
        given = integer(draw, k)
        means = Known(lambda u, _: topk_compress_reference(u, k), (CODES["topk"], k, None))
        return Argument(lambda: eff.TopK(given), means)
    if kind == "ratio":
        ratio = draw.choice([np.float32(0.25), np.array(0.5), 1, 1e-9, torch.tensor(0.75)])
        k = eff.TopK(ratio=float(ratio)).entries(dim)
        means = Known(lambda u, _: topk_compress_reference(u, k), (CODES["topk"], k, None))
        return Argument(lambda: eff.TopK(ratio=ratio), means)
    if kind == "random":
        k, unbiased = draw.choice([0, min(1, dim), dim // 3, dim]), draw.choice([True, False])
        random_k = eff.RandomK(k, unbiased=unbiased)
        codes = (CODES["random_k" if unbiased else "biased_random_k"], k, None)
        means = Known(lambda u, stream: random_k.reference(u, *stream), codes, not unbiased)
        return Argument(lambda: random_k, means)
    if kind == "block":
        k = draw.choice([0, min(1, dim), dim // 3, dim])
        block = eff.RandomBlock(k)

        def moves(u: Tensor, stream: Stream) -> Tensor:
            return block.reference(torch.ones_like(u), *stream) != 0

        codes = (CODES["random_block"], k, None)
        known_block = Known(lambda u, stream: block.reference(u, *stream), codes, False, moves)
        return Argument(lambda: block, known_block)
    if kind == "natural":
        natural = eff.NaturalCompression(draw.choice([0, 1, 7, 20, 22]))
        codes = (CODES["natural"], natural.mantissa_bits, None)
        means = Known(lambda u, stream: natural.reference(u, *stream), codes)
        return Argument(lambda: natural, means)
    if kind == "blocks" or (kind == "offsets" and dim == 0):
        size = draw.choice([1, 2, 3, 64, 1024, 2**63 - 1])
        given = integer(draw, size)
        signs = eff.BlockSign(size)
        codes = (CODES["block_sign"], size, None)
        means = Known(lambda u, _: block_sign_compress_reference(u, signs), codes)
        return Argument(lambda: eff.BlockSign(given), means)
    if kind == "offsets":
        inner = draw.sample(range(1, dim), min(dim - 1, draw.choice([0, 1, 5])))
        offsets = [0, *sorted(inner), dim]
        listed = draw.choice([list, tuple, np.array, torch.tensor])(offsets)
        signs = eff.BlockSign(block_offsets=offsets)
        codes = (CODES["block_sign"], 1, offsets)
        means = Known(lambda u, _: block_sign_compress_reference(u, signs), codes)
        return Argument(lambda: eff.BlockSign(block_offsets=listed), means)
    function = draw.choice([torch.sign, torch.round, lambda u: u.mul_(0.5), lambda u: u])
    return Argument(lambda: function, Known(lambda u, _: function(u.clone()), (-1, 0, None)))


def clip(draw: random.Random, *, bad: bool) -> Argument:
    """``means`` is a clip."""
    kind = draw.choice([eff.ClipValue, eff.ClipNorm])
    if bad:
        limit = draw.choice([*BAD_NUMBERS, 0, -1, np.float32(0)])
        return draw.choice([Argument(lambda: kind(limit), None), Argument(lambda: 1.0, None)])
    limit = draw.choice(NUMBER_KINDS)(draw.choice([1.0, 2.0, 40.0]))
    return Argument(lambda: kind(limit), kind(float(limit)))


def bounds(draw: random.Random, *, bad: bool) -> Argument:
    """``means`` is a Clamp or a Reflect."""
    pairs = [lambda low, high: (low, high), lambda *pair: list(pair)]
    kind = draw.choice([*pairs, eff.Clamp, eff.Reflect])
    if bad:
        low, high = draw.choice([(1, -1), (NAN, 1), (0, NAN), (None, 1.0), ("0", "1"), (0, True),
                                 (torch.zeros(3), torch.ones(3)), (0, np.zeros(1))])  # fmt: skip
        whole = draw.choice([1.0, "ab", (0, 1, 2), np.array([0.0, 1.0])])
        return Argument(draw.choice([lambda: kind(low, high), lambda: whole]), None)
    low, high = draw.choice([(-1.0, 2.0), (0.0, 0.0), (-INF, 1.0), (-3.0, INF), (-0.0, 1.0)])
    kinds = [float, np.float32, np.float64, np.array, torch.tensor]
    given = draw.choice(kinds)(low), draw.choice(kinds)(high)
    means = (eff.Reflect if kind is eff.Reflect else eff.Clamp)(low, high)
    return Argument(lambda: kind(*given), means)
