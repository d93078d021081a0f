"""Options of a configuration: dataclass fields with a type, a range and a help text."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Sequence
from typing import Any

import numpy as np

from effebm_ext.runs.did_you_mean import did_you_mean
from effebm_ext.scalars import as_float, as_int

_NAMES = {bool: "true or false", int: "an int", float: "a number", str: "a str"}


def option(
    default: Any,
    help: str,
    *,
    group: str = "",
    metavar: str = "",
    resolved: Any = None,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    names: Sequence[str] = (),
) -> Any:
    """Makes a field of a dataclass of options.

    Args:
        default: the value if none is given. None: the run chooses the value when it knows its data
            and its objective, and the field's type is that of a chosen value.
        help: the help text of the command line: one sentence, and perhaps a default in brackets.
        group: the heading under which the help shows the option; none for an option that only some
            objectives have.
        metavar: what the help shows in the place of a value; none for the names or the type.
        resolved: the value that a run chooses for None.
        above, at_least, at_most, below: the range of a number.
        names: the strings that are allowed; the help shows them.
    """
    limits = {"above": above, "at_least": at_least, "at_most": at_most, "below": below}
    shown = {"help": help, "group": group, "metavar": metavar}
    metadata = {"resolved": resolved, "names": tuple(names), **shown, **limits}
    return dataclasses.field(default=default, metadata=metadata)


def flag(name: str) -> str:
    """Returns the name of an option as the command line takes it."""
    return "--" + name.replace("_", "-")


def check_options(options: Any) -> None:
    """Checks type, range and names of every field; numbers become Python's numbers.

    Raises:
        TypeError: as :func:`as_declared`.
        ValueError: a number is out of its range, or a string is none of the names.
    """
    declared = declared_types(type(options))
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value is not None or field.default is not None:
            value = as_declared(value, declared[field.name], field.name)
        object.__setattr__(options, field.name, value)  # JSON holds Python's types only
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    for field in dataclasses.fields(options):
        if given[field.name] is not None:
            _check_range(field, given[field.name])
    for field in dataclasses.fields(options):
        names, value = field.metadata["names"], given[field.name]
        if names and value not in (*names, field.default):
            raise ValueError(wrong_choice(field.name, names, value))


def wrong_choice(name: str, names: Sequence[str], value: str) -> str:
    """Says in words that an option has none of the values that are allowed."""
    return f"{name}: expected {', '.join(names)}, got {value!r}{did_you_mean(value, names)}"


def _check_range(field: dataclasses.Field[Any], value: Any) -> None:
    name, limits = field.name, field.metadata
    above, at_least = limits["above"], limits["at_least"]
    low = at_least if above is None else above
    if low is None:
        return
    sign = ">=" if above is None else ">"
    if not math.isfinite(value) or value < low or value == above:
        raise ValueError(f"{name}: expected a finite number {sign} {low}, got {value}")
    if limits["at_most"] is not None and value > limits["at_most"]:
        raise ValueError(f"{name}: expected {low} to {limits['at_most']}, got {value}")
    if limits["below"] is not None and value >= limits["below"]:
        raise ValueError(f"{name}: expected {low} <= {name} < {limits['below']}, got {value}")


def declared_types(kind: type) -> dict[str, Any]:
    """Returns the types of a dataclass's fields by name: bool, int, float or str, each perhaps with
    None. A field whose default is None may be None whatever its type."""
    return typing.get_type_hints(kind)


def kind_of(declared: Any) -> type:
    """Returns the declared type, without None."""
    return (typing.get_args(declared) or (declared,))[0]


def as_declared(value: Any, declared: Any, name: str) -> Any:
    """Returns ``value`` as a Python object of the type that is ``declared``. NumPy numbers and
    tensors without axes count as numbers, and an int as a float if a float is declared.

    Raises:
        TypeError: it has another type; a bool is no number, and no number or string is a bool.
        ValueError: a float is declared, and it is an integer that no float holds.
    """
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
