"""Conversion of callers' numbers: Python's, NumPy's, and tensors or arrays without axes."""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any, cast

import numpy as np
import torch


def as_int(value: Any, name: str) -> int:
    """Returns ``value`` as an int: it is an int, a NumPy integer, or an integer tensor or array
    without axes. The host waits for a tensor on a GPU.

    Raises:
        TypeError: it is none of these; a bool or a whole float is none of them.
    """
    if type(value) is int:
        return value
    if isinstance(value, torch.SymInt):  # from a trace with dynamic shapes
        return cast("int", value)
    plain = _without_axes(value)
    if isinstance(plain, (bool, np.bool_)) or not isinstance(plain, numbers.Integral):
        raise TypeError(f"{name}: expected an int, got {_kind(value)}")
    return operator.index(plain)


def as_float(value: Any, name: str, expected: str = "a number") -> float:
    """Returns ``value`` as a float: it is a float, an int, a NumPy number, or a tensor or array
    without axes. The host waits for a tensor on a GPU. The message asks for ``expected``.

    Raises:
        TypeError: it is none of these; a bool is none of them.
        ValueError: it is an integer that no float holds.
    """
    if type(value) is float:
        return value
    if isinstance(value, (torch.SymFloat, torch.SymInt)):  # from a trace with dynamic shapes
        return cast("float", torch.sym_float(value))
    plain = _without_axes(value)
    if isinstance(plain, (bool, np.bool_)) or not isinstance(plain, numbers.Real):
        raise TypeError(f"{name}: expected {expected}, got {_kind(value)}")
    try:
        return float(plain)
    except OverflowError as error:
        raise ValueError(f"{name}: expected a number below 2**1024 in magnitude") from error


def as_positive(value: Any, name: str) -> float:
    """Returns ``value`` as a float, like :func:`as_float`; it must be positive and finite.

    Raises:
        TypeError: it is no number.
        ValueError: it is not positive, or not finite.
    """
    number = as_float(value, name)
    if not 0 < number < math.inf:
        raise ValueError(f"{name}: expected a positive finite number, got {number}")
    return number


def _without_axes(value: Any) -> Any:
    if isinstance(value, (torch.Tensor, np.ndarray)) and value.ndim == 0:
        return value.item()
    return value


def _kind(value: Any) -> str:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return f"{type(value).__name__} of {value.dtype} and shape {tuple(value.shape)}"
    return type(value).__name__
