"""Limits on a gradient (clip) and on a state (bounds), with their derivatives."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from effebm_ext import _C
from effebm_ext.reference import canonical_sum, sqrt
from effebm_ext.scalars import as_float, as_positive
from effebm_ext.shown import as_call


@dataclasses.dataclass(frozen=True)
class ClipValue:
    """Clamp every gradient element to ``[-limit, limit]`` before it is compressed.

    Raises:
        TypeError: ``limit`` is no number.
        ValueError: ``limit`` is not positive and finite.
    """

    limit: float
    code: ClassVar[int] = _C.CLIP_VALUE

    __repr__ = as_call

    def __post_init__(self) -> None:
        object.__setattr__(self, "limit", as_positive(self.limit, "limit"))

    def apply(self, g: Tensor) -> Tensor:
        """The clipped gradient, of the shape and dtype of ``g`` ``(n_chains, *event)``: float32 or
        float64, as the ops compute. The bits are those of the ops."""
        limit = torch.tensor(self.limit, dtype=g.dtype, device=g.device)
        return _clamp(g, -limit, limit)

    def vjp(self, g: Tensor, v: Tensor) -> Tensor:
        """``v`` times the derivative of :meth:`apply` at ``g``, a symmetric matrix."""
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
    code: ClassVar[int] = _C.CLIP_NORM

    __repr__ = as_call

    def __post_init__(self) -> None:
        object.__setattr__(self, "limit", as_positive(self.limit, "limit"))

    def apply(self, g: Tensor) -> Tensor:
        """The clipped gradient, of the shape and dtype of ``g`` ``(n_chains, *event)``: float32 or
        float64, as the ops compute. The bits are those of the ops. Autograd does not follow it."""
        limit = torch.tensor(self.limit, dtype=g.dtype, device=g.device)
        rows = _rows(g)
        norm = sqrt(canonical_sum(rows * rows))
        scale = torch.where(norm > limit, limit / norm, 1.0)
        return (rows * scale[:, None]).reshape(g.shape)

    def vjp(self, g: Tensor, v: Tensor) -> Tensor:
        """``v`` times the derivative of :meth:`apply` at ``g``, a symmetric matrix."""
        rows, along = _rows(g), _rows(v)
        longer = rows.norm(dim=1, keepdim=True) > self.limit
        rows = torch.where(longer, rows, 1.0)  # zeros are not scaled, and their norm has no slope
        norm = rows.norm(dim=1, keepdim=True)
        direction = rows / norm
        radial = direction * (direction * along).sum(1, keepdim=True)
        scaled = self.limit / norm * (along - radial)
        return torch.where(longer, scaled, along).reshape(v.shape)


@dataclasses.dataclass(frozen=True)
class _Interval:
    """Bounds of a state: the numbers are checked, and rounded as the states that they bound."""

    lower: float
    upper: float

    __repr__ = as_call

    def __post_init__(self) -> None:
        try:
            lower, upper = as_float(self.lower, "bounds"), as_float(self.upper, "bounds")
        except TypeError as error:
            raise TypeError(
                "bounds: expected two numbers, -inf or inf where there is no bound, "
                f"got {(self.lower, self.upper)!r}"
            ) from error
        if not lower <= upper:
            raise ValueError(f"bounds: expected lower <= upper, got ({self.lower}, {self.upper})")
        if lower is not self.lower:  # a float stays as it is
            object.__setattr__(self, "lower", lower)
        if upper is not self.upper:
            object.__setattr__(self, "upper", upper)

    def _rounded(self, x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The bounds in the dtype of ``x``, rounded as the ops round them for states of
        ``dtype``."""
        exact = (
            torch.full((), bound, dtype=torch.float64, device=x.device)
            for bound in (self.lower, self.upper)
        )
        lower, upper = (bound.to(x.dtype).to(dtype).to(x.dtype) for bound in exact)
        return lower, upper


class Clamp(_Interval):
    """Clamp every state element to ``[lower, upper]``; ``bounds=(lower, upper)`` is short for it.
    ``-inf`` and ``inf`` stand for no bound on that side.

    Raises:
        TypeError: one of them is no number.
        ValueError: ``lower > upper``, or one of them is NaN.
    """

    code: ClassVar[int] = _C.BOUNDS_CLAMP

    def apply(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """The clamped state, of the shape and dtype of ``x``, any shape. NaN stays.

        Args:
            x: a state as the ops compute it, float32 or float64.
            dtype: of the state that ``x`` will be rounded to, by default x's own. The bounds are
                rounded to x's dtype and then to this one.
        """
        return _clamp(x, *self._rounded(x, dtype or x.dtype))

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """``v`` times the derivative of :meth:`apply` at ``x``, a diagonal matrix."""
        lower, upper = self._rounded(x, x.dtype)
        return v * ((x >= lower) & (x <= upper))


class Reflect(_Interval):
    """Mirror a state element that left ``[lower, upper]`` back into it, once; then clamp.
    ``-inf`` and ``inf`` stand for no bound on that side.

    Near a wall the chain's law is off by the order of the step size, where a clamp is off by the
    order of its square root (docs/sampling.md).

    Raises:
        TypeError: one of them is no number.
        ValueError: ``lower > upper``, or one of them is NaN.
    """

    code: ClassVar[int] = _C.BOUNDS_REFLECT

    def apply(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """The mirrored state; the arguments are those of :meth:`Clamp.apply`."""
        lower, upper = self._rounded(x, dtype or x.dtype)
        return _clamp(_mirror(x, lower, upper), lower, upper)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """``v`` times the derivative of :meth:`apply` at ``x``, a diagonal matrix."""
        lower, upper = self._rounded(x, x.dtype)
        inside = (x >= lower) & (x <= upper)
        mirrored = _mirror(x, lower, upper)
        back = (mirrored >= lower) & (mirrored <= upper)
        return v * torch.where(inside, 1.0, torch.where(back, -1.0, 0.0)).to(v.dtype)


Clip = ClipValue | ClipNorm
Bounds = tuple[float, float] | Clamp | Reflect


def as_bounds(bounds: Bounds | None) -> Clamp | Reflect | None:
    """Bounds as callers give them, where a pair of numbers is a :class:`Clamp`.

    Raises:
        TypeError: they are not two numbers, Clamp, Reflect or None.
        ValueError: ``lower > upper``, or one of them is NaN.
    """
    if bounds is None or isinstance(bounds, (Clamp, Reflect)):
        return bounds
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise TypeError(f"bounds: expected (lower, upper), Reflect or None, got {bounds!r}")
    return Clamp(*bounds)


def _rows(t: Tensor) -> Tensor:
    return t.reshape(t.shape[0], t.shape[1:].numel())


def _mirror(x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    mirrored = torch.where(x > upper, (upper + upper) - x, x)
    return torch.where(x < lower, (lower + lower) - x, mirrored)


def _clamp(v: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    return torch.where(v < lower, lower, torch.where(v > upper, upper, v))
