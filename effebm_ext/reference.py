"""The numerical contract in plain PyTorch: slow, on any device, and equal to the kernels in bits.

Each op's reference stands beside its wrapper in ``effebm_ext/ops`` and is built from these pieces.
docs/numerics.md states in words what is written here in code.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_MASK32 = 0xFFFFFFFF
_SUM_WIDTH = 1024


def fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """``a * b + c`` rounded once, for float32 tensors; for float64 at most one ulp off
    that, where products stay below 2**970.

    In float64 the product of two float32 is exact. The sum is then rounded to odd, after which
    rounding to float32 gives what a single rounding would have given.
    """
    if a.dtype == torch.float64:
        product, product_error = _two_product(a, b)
        total, sum_error = _two_sum(product, c)
        return torch.where(torch.isfinite(total), total + (sum_error + product_error), total)
    total, error = _two_sum(a.double() * b.double(), c.double())
    even = (total.view(torch.int64) & 1) == 0
    inexact = torch.isfinite(total) & (error != 0)
    toward = torch.copysign(torch.full_like(error, torch.inf), error)
    return torch.where(even & inexact, torch.nextafter(total, toward), total).float()


def _two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``a + b`` rounded, and the rounding error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _two_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``a * b`` rounded, and the rounding error (Dekker)."""

    def split(v: Tensor) -> tuple[Tensor, Tensor]:
        big = v * 134217729.0
        high = big - (big - v)
        return high, v - high

    product = a * b
    (ah, al), (bh, bl) = split(a), split(b)
    return product, ((ah * bh - product) + ah * bl + al * bh) + al * bl


def sqrt(v: Tensor) -> Tensor:
    """The correctly rounded square root, which ``torch.sqrt`` on the CPU need not be."""
    return torch.from_numpy(np.sqrt(v.double().cpu().numpy())).to(v)


def canonical_sum(terms: Tensor) -> Tensor:
    """Sum over the last axis in the contract's order: halving trees over 1024 positions."""
    terms = terms + 0.0
    while True:
        groups = max(1, -(-terms.shape[-1] // _SUM_WIDTH))
        padding = groups * _SUM_WIDTH - terms.shape[-1]
        terms = torch.nn.functional.pad(terms, (0, padding))
        terms = terms.unflatten(-1, (groups, _SUM_WIDTH))
        while terms.shape[-1] > 1:
            low, high = terms.chunk(2, dim=-1)
            terms = low + high
        terms = terms.squeeze(-1)
        if groups == 1:
            return terms.squeeze(-1)


def philox4x32_10(counter: Tensor, key0: int, key1: int) -> Tensor:
    """Random words as int64 ``(..., 4)`` for counters int64 ``(..., 4)``, all below 2**32."""

    def multiply(constant: int, word: Tensor) -> tuple[Tensor, Tensor]:
        low = constant * (word & 0xFFFF)
        high = constant * (word >> 16)
        return (high + (low >> 16)) >> 16, (low + (high << 16)) & _MASK32

    c0, c1, c2, c3 = counter.unbind(-1)
    for _ in range(10):
        high0, low0 = multiply(0xD2511F53, c0)
        high1, low1 = multiply(0xCD9E8D57, c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ key0, low1, high0 ^ c3 ^ key1, low0
        key0, key1 = (key0 + 0x9E3779B9) & _MASK32, (key1 + 0xBB67AE85) & _MASK32
    return torch.stack([c0, c1, c2, c3], dim=-1)


def log_uniform(word: Tensor) -> Tensor:
    """float32 ``log((word + 1/2) / 2**32)`` for words int64."""
    one = torch.ones((), dtype=torch.float32, device=word.device)

    def const(value: str) -> Tensor:
        return float.fromhex(value) * one

    u = fma(word.double().float(), const("0x1p-32"), const("0x1p-33"))
    shifted = u.view(torch.int32).long() + (0x3F800000 - 0x3F3504F3)
    near_one = word >= 0xB504F400
    exponent = torch.where(near_one, 0, (shifted >> 23) - 127).float()
    complement = (_MASK32 - word).double().float()
    f = torch.where(
        near_one,
        fma(complement, const("-0x1p-32"), const("-0x1p-33")),
        ((shifted & 0x007FFFFF) + 0x3F3504F3).int().view(torch.float32) - 1.0,
    )
    p = const("-0x1.38b582p-4")
    for coefficient in ("0x1.055b6cp-3", "-0x1.0d8542p-3", "0x1.22da1cp-3", "-0x1.547244p-3",
                        "0x1.99a008p-3", "-0x1.000226p-2", "0x1.555554p-2"):  # fmt: skip
        p = fma(p, f, const(coefficient))
    f2 = f * f
    tail = fma(exponent, const("0x1.7f7d1cp-20"), (p * f) * f2)
    tail = fma(-0.5 * one, f2, tail)
    return fma(exponent, const("0x1.62e4p-1"), f + tail)


def cos_sin_turn(word: Tensor) -> tuple[Tensor, Tensor]:
    """float32 cosine and sine of ``word / 2**32`` turns, for words int64."""
    one = torch.ones((), dtype=torch.float32, device=word.device)

    def horner(t2: Tensor, *coefficients: str) -> Tensor:
        value = float.fromhex(coefficients[0]) * one
        for coefficient in coefficients[1:]:
            value = fma(value, t2, float.fromhex(coefficient) * one)
        return value

    rotated = (word + 0x20000000) & _MASK32
    quadrant = rotated >> 30
    t = ((rotated & 0x3FFFFFFF) - 0x20000000).float() * 2.0**-29
    t2 = t * t
    s = horner(t2, "-0x1.2dc84cp-15", "0x1.466004p-9", "-0x1.4abbbep-4", "-0x1.777a5cp-26")
    s = fma(t, float.fromhex("0x1.921fb6p-1") * one, t * s)
    c = horner(t2, "0x1.d9d57ep-19", "-0x1.55c5e0p-12", "0x1.03c1dep-6", "-0x1.3bd3ccp-2", "0x1p0")
    swap = (quadrant & 1) == 1
    cosine, sine = torch.where(swap, s, c), torch.where(swap, c, s)
    cosine = torch.where(((quadrant + 1) & 2) == 2, -cosine, cosine)
    sine = torch.where((quadrant & 2) == 2, -sine, sine)
    return cosine, sine


def normals(
    rows: int, dim: int, seed: int, offset: int = 0, first_chain: int = 0, purpose: int = 0
) -> Tensor:
    """float32 ``(rows, dim)``: the noise of chains ``first_chain ...`` at one offset."""
    words = random_words(rows, dim, seed, offset, first_chain, purpose).unflatten(-1, (2, 2))
    radius = sqrt(-2.0 * log_uniform(words[..., 0]))
    cosine, sine = cos_sin_turn(words[..., 1])
    return torch.stack([radius * cosine, radius * sine], dim=-1).flatten(1)[:, :dim]


def random_words(
    rows: int, dim: int, seed: int, offset: int = 0, first_chain: int = 0, purpose: int = 0
) -> Tensor:
    """int64 ``(rows, quads, 4)``: the random words of every four elements of chains
    ``first_chain ...`` at one offset."""
    quads = -(-dim // 4)
    counter = torch.empty(rows, quads, 4, dtype=torch.int64)
    counter[..., 0] = torch.arange(quads)
    counter[..., 1] = torch.arange(first_chain, first_chain + rows)[:, None]
    counter[..., 2] = offset & _MASK32
    counter[..., 3] = (offset >> 32 & 0xFFFFFF) | purpose << 24
    return philox4x32_10(counter, seed & _MASK32, seed >> 32 & _MASK32)
