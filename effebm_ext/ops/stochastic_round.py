"""stochastic_round: numbers in a shorter type, rounded at random so that their mean stays."""

from __future__ import annotations

import torch
from torch import Tensor

from effebm_ext.limits import Clamp
from effebm_ext.ops.checks import (
    check_not_differentiated,
    check_not_transformed,
    check_state,
    row_size,
)
from effebm_ext.ops.compressor import KeyArguments
from effebm_ext.reference import random_words
from effebm_ext.rng import ROUNDING, Key, check_chains, seed_tensor

_ROUND = torch.ops.effebm.stochastic_round.default
_ROUNDED = (torch.bfloat16, torch.float16, torch.float8_e5m2, torch.uint8)
_CODES = 255


def stochastic_round(
    x: Tensor,
    dtype: torch.dtype,
    *,
    rng: Key,
    limits: Clamp | tuple[float, float] | None = None,
    purpose: int = ROUNDING,
) -> Tensor:
    """Rounds every element to one of its two neighbours in a shorter type, at random, so that the
    mean of the result is the element (Croci et al., "Stochastic rounding", 2022). Rounding to
    nearest loses every change below half the distance of two neighbours; this loses none on
    average.

    Args:
        x: float32 ``(n_chains, *event)``.
        dtype: bfloat16, float16, float8_e5m2 or uint8. Of uint8 the results are codes 0 to 255,
            which lie evenly between the limits; elements outside become the nearest code, and NaN
            becomes 0. :func:`from_codes` gives the numbers back.
        rng: names the random words, one per element.
        limits: of the codes: a :class:`~effebm_ext.Clamp`, or ``(lower, upper)``; only for uint8.
        purpose: the use of the words; a purpose of :mod:`effebm_ext.rng`.

    Returns:
        A contiguous tensor ``(n_chains, *event)`` of this dtype. Numbers that a floating-point
        dtype holds stay as they are, and so do infinities and NaN. (A finite number above the
        dtype's largest may become infinite.) The number of a code stays this code but for a few
        in a million, as it is rounded itself.

    Raises:
        TypeError: x is not float32, or dtype is another one.
        ValueError: limits are missing for uint8, equal, or given for another dtype; or a chain
            number is 2**32 or more.
        RuntimeError: a derivative by x is taken, or x is vmapped.
    """
    check_state(x)
    if x.dtype != torch.float32:
        raise TypeError(f"x: expected float32, got {x.dtype}")
    ends = _ends(dtype, limits)
    check_chains(rng, len(x))
    key = seed_tensor(rng, x), rng.offset, rng.first_chain
    return round_by(x, dtype, key, ends, purpose)


def round_by(
    x: Tensor,
    dtype: torch.dtype,
    key: KeyArguments,
    ends: tuple[float, float] = (0.0, 0.0),
    purpose: int = ROUNDING,
) -> Tensor:
    """Rounds as :func:`stochastic_round` does, by a key as the ops take it."""
    check_not_transformed("stochastic_round", x)
    check_not_differentiated("stochastic_round", x)
    out = torch.empty_like(x, dtype=dtype, memory_format=torch.contiguous_format)
    _ROUND(x, out, *key, purpose, *ends)
    return out


def from_codes(codes: Tensor, limits: Clamp | tuple[float, float]) -> Tensor:
    """Returns the numbers, float32, that codes uint8 of :func:`stochastic_round` stand for."""
    lower, upper = _ends(codes.dtype, limits)
    numbers = codes.to(torch.float32).mul_((upper - lower) / _CODES).add_(lower)
    return numbers.clamp_(lower, upper)


def check_limits(dtype: torch.dtype | None, limits: Clamp | tuple[float, float] | None) -> None:
    """Raises a ValueError if limits are missing for uint8, or given for another dtype."""
    if (limits is None) == (dtype == torch.uint8):
        raise ValueError(f"limits: expected them for uint8 only, got {limits} for {dtype}")


def _ends(dtype: torch.dtype, limits: Clamp | tuple[float, float] | None) -> tuple[float, float]:
    if dtype not in _ROUNDED:
        raise TypeError(f"dtype: expected bfloat16, float16, float8_e5m2 or uint8, got {dtype}")
    check_limits(dtype, limits)
    if limits is None:
        return 0.0, 0.0
    limits = limits if isinstance(limits, Clamp) else Clamp(*limits)
    if not limits.lower < limits.upper:
        raise ValueError(f"limits: expected lower < upper, got {limits}")
    return limits.lower, limits.upper


@torch.library.register_fake("effebm::stochastic_round")
def _(x: Tensor, out: Tensor, *arguments: object) -> None:
    return None


def stochastic_round_reference(
    x: Tensor,
    dtype: torch.dtype,
    *,
    limits: tuple[float, float] | None = None,
    seed: int = 0,
    offset: int = 0,
    first_chain: int = 0,
    purpose: int = ROUNDING,
) -> Tensor:
    """Returns the same in plain PyTorch."""
    rows = x.reshape(len(x), row_size(x))
    n, dim = rows.shape
    words = random_words(n, dim, seed, offset, first_chain, purpose)
    random = words.flatten(1)[:, :dim].to(x.device) >> 16
    if dtype == torch.uint8:
        assert limits is not None
        lower, upper = limits
        at = (rows - lower) * torch.tensor(_CODES / (upper - lower), dtype=x.dtype)
        at = torch.nan_to_num(at, nan=0.0).clamp(0, _CODES)
        return (((at * 2**16).long() + random) >> 16).to(dtype).reshape(x.shape)
    bits = rows.contiguous().view(torch.int32).long() & 0x7FFFFFFF
    width = 8 * dtype.itemsize
    if dtype == torch.bfloat16:
        rounded, finite = (bits + random) >> 16, bits < 0x7F800000
    else:
        mantissa_bits = width - 6
        small = rows.abs().nan_to_num(0, 0).clamp(max=1) * 2.0 ** (30 + mantissa_bits)
        normal = (
            bits - (112 << 23) + ((random << 16) >> (9 + mantissa_bits))
        ) >> 23 - mantissa_bits
        rounded = torch.where(bits < 0x38800000, (small.long() + random) >> 16, normal)
        finite = bits < 0x47800000
    infinity = torch.where(rows.isnan(), torch.nan, torch.inf).to(dtype)
    integer = {8: torch.uint8, 16: torch.int16}[width]
    largest = infinity.view(integer).long() & (1 << width - 1) - 1
    signed = torch.where(finite, rounded, largest) | torch.signbit(rows).long() << width - 1
    return signed.to(integer).view(dtype).reshape(x.shape)
