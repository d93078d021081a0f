"""How objects print: in one line, as the call that makes them."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from torch import Tensor, nn


def as_call(made: object) -> str:
    """Returns the call that makes an object, without arguments that have their defaults or that
    the object does not keep under their names."""
    shown = []
    for name, parameter in inspect.signature(type(made)).parameters.items():
        value = getattr(made, name, parameter.default)
        if not _is_default(value, parameter.default):
            shown.append(f"{name}={short(value)}")
    return f"{type(made).__name__}({', '.join(shown)})"


def short(value: Any) -> str:
    """Returns a value in one line: a function by its name, a tensor by its shape, a network and
    whatever would take more than a line by its type."""
    if isinstance(value, Tensor):
        return f"tensor of shape {tuple(value.shape)}"
    if isinstance(value, list):
        return f"list of {len(value)}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {short(item)}' for key, item in value.items())}}}"
    if isinstance(value, nn.Module):
        return type(value).__name__
    if isinstance(value, functools.partial):
        bound = [short(part) for part in (value.func, *value.args)]
        bound += [f"{name}={short(part)}" for name, part in value.keywords.items()]
        return f"partial({', '.join(bound)})"
    name = getattr(value, "__name__", None)
    if name is not None:
        return str(name)
    text = repr(value)
    return type(value).__name__ if text.startswith("<") or "\n" in text else text


def _is_default(value: Any, default: Any) -> bool:
    if value is None:
        return default in (None, inspect.Parameter.empty)
    if isinstance(value, (dict, list)) and not value:  # made anew for every object
        return True
    return value is default or (type(value) is type(default) and bool(value == default))
