"""Checks that the losses make of data, of numbers, and of the values of a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from effebm_ext.energies import check_floating
from effebm_ext.ops.checks import compute_dtype
from effebm_ext.scalars import as_float

Network = Callable[..., Tensor]
Kwargs = Mapping[str, Any] | None


def check_data(x: Tensor) -> None:
    """Raises unless ``x`` is a floating-point tensor ``(n, *event)`` of at least one element: the
    mean over no rows would be nan."""
    if not x.is_floating_point():
        raise TypeError(f"x: expected floating-point data, got {x.dtype}")
    if x.dim() == 0 or x.numel() == 0:
        raise ValueError(
            "x: expected data (n, *event) of at least one row and one element, "
            f"got shape {tuple(x.shape)}"
        )


def positive(value: Any, name: str) -> float:
    """Returns ``value`` as a float, which must be finite and > 0.

    Raises:
        TypeError: it is no number.
        ValueError: it is not positive, or not finite.
    """
    number = as_float(value, name)
    if not 0 < number < math.inf:
        raise ValueError(f"{name}: expected a finite number > 0, got {number}")
    return number


def positive_per_row(value: Any, name: str, x: Tensor) -> float | Tensor:
    """Checks finite numbers > 0: one, or a tensor ``()`` or ``(n,)``. A tensor is returned on the
    data's device, in at least the data's compute dtype.

    The elements of a tensor on the CPU are checked. On a GPU this would make the host wait in every
    loss, and torch.compile cannot do it: there elements that are not positive and finite become
    nan, and so does the loss.

    Raises:
        TypeError: it is neither a number nor a tensor.
        ValueError: it has another shape; an element that is checked is not positive and finite.
    """
    if not isinstance(value, Tensor):
        return positive(value, name)
    if value.shape not in ((), x.shape[:1]):
        raise ValueError(
            f"{name}: expected a number or a tensor of shape () or ({len(x)},), "
            f"got shape {tuple(value.shape)}"
        )
    wide = torch.promote_types(compute_dtype(value.dtype), compute_dtype(x.dtype))
    value = value.detach().to(wide)
    usable = (value > 0) & value.isfinite()
    if not value.is_cpu or torch.compiler.is_compiling():
        return torch.where(usable, value, math.nan).to(x.device)
    if not bool(usable.all()):
        raise ValueError(f"{name}: expected finite numbers > 0, got {float(value[~usable][0])}")
    return value.to(x.device)


def widened(values: Tensor) -> Tensor:
    """Returns float64 values as they are and all others in float32."""
    return values.to(compute_dtype(values.dtype))


def as_score(values: Tensor, x: Tensor) -> Tensor:
    """Returns the values of a network at ``x`` ``(n, *event)`` as a score ``(n, d)``, widened.

    Raises:
        TypeError: they are not a floating-point tensor.
        ValueError: they do not have the shape of x, as is the case for energies.
    """
    check_floating(values, "score")
    if values.shape != x.shape:
        raise ValueError(
            f"score: expected the shape of x, {tuple(x.shape)}, got {tuple(values.shape)}. This "
            "loss takes a score; effebm_ext.energies.score_of(energy) is the score of an energy"
        )
    return widened(values).reshape(len(x), -1)
