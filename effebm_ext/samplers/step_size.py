"""Step sizes as callers give them: numbers, tensors, and functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from effebm_ext.scalars import as_positive

StepSize = float | Tensor | Callable[[int], float | Tensor]
NOT_POSITIVE = "step_size: expected positive numbers that are finite, got some that are not"


def as_step_size(value: Any) -> StepSize:
    """Checks a step size of a sampler: numbers become floats, tensors and functions stay as they
    are.

    Raises:
        TypeError: it is none of these.
        ValueError: a number is not positive and finite. Waits for a GPU.
    """
    if isinstance(value, Tensor):
        if not bool(all_positive(value)):
            raise ValueError(NOT_POSITIVE)
        return value
    return value if callable(value) else as_positive(value, "step_size")


def all_positive(step_size: Tensor) -> Tensor:
    """Says whether all step sizes are positive and finite: bool ``()`` on their device. Those of
    elements may be zero, so that an element rests."""
    positive = step_size > 0 if step_size.dim() < 2 else step_size >= 0
    return (positive & (step_size < math.inf)).all()
