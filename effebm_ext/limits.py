"""Limits on a gradient (clip) and on a state (bounds)."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class ClipValue:
    """Clamp every gradient element to ``[-limit, limit]`` before it is compressed.

    Raises:
        ValueError: ``limit`` is not positive and finite.
    """

    limit: float

    def __post_init__(self) -> None:
        _check_limit(self.limit)


@dataclasses.dataclass(frozen=True)
class ClipNorm:
    """Scale a chain's gradient down to Euclidean norm ``limit`` where it is larger.

    The ops do not implement it yet.

    Raises:
        ValueError: ``limit`` is not positive and finite.
    """

    limit: float

    def __post_init__(self) -> None:
        _check_limit(self.limit)


@dataclasses.dataclass(frozen=True)
class Reflect:
    """Mirror a state element that left ``[lower, upper]`` back into it, once; then clamp.

    Raises:
        ValueError: ``lower > upper``, or one of them is NaN.
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        check_interval(self.lower, self.upper)


def _check_limit(limit: float) -> None:
    if not (0 < limit < math.inf):
        raise ValueError(f"limit: expected a positive finite number, got {limit}")


def check_interval(lower: float, upper: float) -> None:
    if not lower <= upper:
        raise ValueError(f"bounds: expected lower <= upper, got ({lower}, {upper})")
