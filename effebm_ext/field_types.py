"""Values of a dataclass's fields, held to the types that the fields are declared with."""

from __future__ import annotations

import typing
from typing import Any

import numpy as np

from effebm_ext.scalars import as_float, as_int

_NAMES = {bool: "true or false", int: "an int", float: "a number", str: "a str"}


def declared_types(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields by their names: bool, int, float or str, or None too."""
    return typing.get_type_hints(kind)


def kind_of(declared: Any) -> type:
    """The type that is declared, beside which None may be."""
    return (typing.get_args(declared) or (declared,))[0]


def as_declared(value: Any, declared: Any, name: str) -> Any:
    """``value`` as a Python object of the type that is ``declared``. NumPy numbers and tensors
    without axes are numbers, and an int is a float where a float is declared.

    Raises:
        TypeError: it is of another type; a bool is no number, and no number or string is a bool.
        ValueError: it is an integer that no float holds, where a float is declared.
    """
    if value is None and type(None) in typing.get_args(declared):
        return None
    kind = kind_of(declared)
    try:
        if kind is int:
            return as_int(value, name)
        if kind is float:
            return as_float(value, name)
        if isinstance(value, (kind, np.bool_) if kind is bool else kind):
            return kind(value)
    except TypeError:
        pass
    raise TypeError(f"{name}: expected {_NAMES[kind]}, got {value!r}")
