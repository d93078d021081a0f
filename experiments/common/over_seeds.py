"""Figures over seeds, what differences of them say, and their tables."""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy import stats

CONFIDENCE = 0.95


class Mean(NamedTuple):
    """Of a figure over seeds, with its standard error, and half the width of a confidence interval
    by Student's t."""

    value: float
    error: float
    half_width: float


def mean(values: list[float]) -> Mean:
    """Of at least two values."""
    n = len(values)
    value = sum(values) / n
    error = math.sqrt(sum((v - value) ** 2 for v in values) / (n - 1) / n)
    return Mean(value, error, error * float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)))


def is_better(difference: Mean | None) -> bool:
    """Whether a loss is smaller, by more than the seeds' scatter explains."""
    return difference is not None and difference.value + difference.half_width < 0


def verdict(difference: Mean | None) -> str:
    """Of a difference in nats, paired by seeds."""
    if difference is None:
        return "not to be compared, as runs diverged"
    value, _, half = difference
    interval = f"{CONFIDENCE:.0%} interval {value - half:+.2f} to {value + half:+.2f}"
    word = "undecided" if abs(value) <= half else "worse" if value > 0 else "better"
    return f"{word}, {value:+.2f} nats, {interval}"


def show(value: Mean | None) -> str:
    return "-" if value is None else f"{value.value:.2f} ± {value.error:.2f}"


def aligned(rows: list[list[str]]) -> str:
    """Text in columns, all but the first aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )
