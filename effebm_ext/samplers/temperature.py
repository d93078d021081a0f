"""Temperatures as callers give them: a number, or one for each chain."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from effebm_ext.scalars import as_float

Temperature = float | Tensor
_EXPECTED = "a number or a tensor (n_chains,)"


def as_temperature(value: Any) -> Temperature:
    """Checks the temperature of a sampler: numbers become floats, tensors with an axis stay as they
    are.

    Raises:
        TypeError: it is neither a number nor a floating-point tensor.
        ValueError: it is negative or not finite, or a tensor has more than one axis. Waits for a
            GPU.
    """
    if not isinstance(value, Tensor) or value.dim() == 0:
        number = as_float(value, "temperature", _EXPECTED)
        if not 0 <= number < math.inf:
            raise ValueError(f"temperature: expected a finite number >= 0, got {number}")
        return number
    if not value.is_floating_point():
        raise TypeError(f"temperature: expected {_EXPECTED} of floats, got {value.dtype}")
    if value.dim() != 1:
        raise ValueError(f"temperature: expected {_EXPECTED}, got shape {tuple(value.shape)}")
    if not bool(((value >= 0) & (value < math.inf)).all()):
        raise ValueError("temperature: expected finite numbers >= 0, got some that are not")
    return value
