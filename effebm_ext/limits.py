"""Limits on a gradient (clip) and on a state (bounds)."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from effebm_ext.scalars import as_float, as_positive


@dataclasses.dataclass(frozen=True)
class ClipValue:
    """Clamp every gradient element to ``[-limit, limit]`` before it is compressed.

    Raises:
        TypeError: ``limit`` is no number.
        ValueError: ``limit`` is not positive and finite.
    """

    limit: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "limit", as_positive(self.limit, "limit"))

    def vjp(self, g: Tensor, v: Tensor) -> Tensor:
        """``v`` times the derivative of clipping at ``g``, a symmetric matrix."""
        return torch.where(g.abs() <= self.limit, v, 0)


@dataclasses.dataclass(frozen=True)
class ClipNorm:
    """Scale a chain's gradient down to Euclidean norm ``limit`` where it is larger.

    The norm is that of the whole row, before it is compressed. One that is NaN scales nothing, one
    whose square overflows (above about 1e19 in float32) scales to zero. A row that does not stay in
    the cache, or on the chip, is read twice for it.

    Raises:
        TypeError: ``limit`` is no number.
        ValueError: ``limit`` is not positive and finite.
    """

    limit: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "limit", as_positive(self.limit, "limit"))

    def vjp(self, g: Tensor, v: Tensor) -> Tensor:
        """``v`` times the derivative of clipping at ``g``, a symmetric matrix."""
        rows, along = (t.reshape(t.shape[0], t.shape[1:].numel()) for t in (g, v))
        longer = rows.norm(dim=1, keepdim=True) > self.limit
        rows = torch.where(longer, rows, 1.0)  # zeros are not scaled, and their norm has no slope
        norm = rows.norm(dim=1, keepdim=True)
        direction = rows / norm
        radial = direction * (direction * along).sum(1, keepdim=True)
        scaled = self.limit / norm * (along - radial)
        return torch.where(longer, scaled, along).reshape(v.shape)


@dataclasses.dataclass(frozen=True)
class Reflect:
    """Mirror a state element that left ``[lower, upper]`` back into it, once; then clamp.
    ``-inf`` and ``inf`` stand for no bound on that side.

    Near a wall the chain's law is off by the order of the step size, where a clamp is off by the
    order of its square root (docs/sampling.md).

    Raises:
        TypeError: one of them is no number.
        ValueError: ``lower > upper``, or one of them is NaN.
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        for name, bound in zip(("lower", "upper"), interval((self.lower, self.upper)), strict=True):
            object.__setattr__(self, name, bound)


def interval(bounds: tuple[float, float] | Reflect) -> tuple[float, float]:
    """The lower and the upper one of bounds.

    Raises:
        TypeError: they are not two numbers.
        ValueError: ``lower > upper``, or one of them is NaN.
    """
    if isinstance(bounds, Reflect):
        return bounds.lower, bounds.upper
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise TypeError(f"bounds: expected (lower, upper), Reflect or None, got {bounds!r}")
    try:
        lower, upper = (as_float(bound, "bounds") for bound in bounds)
    except TypeError as error:
        raise TypeError(
            f"bounds: expected two numbers, -inf or inf where there is no bound, got {bounds!r}"
        ) from error
    if not lower <= upper:
        raise ValueError(f"bounds: expected lower <= upper, got ({bounds[0]}, {bounds[1]})")
    return lower, upper
