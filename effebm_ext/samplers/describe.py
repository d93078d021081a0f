"""How a sampler prints."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from effebm_ext.limits import Clamp


def described(sampler: object) -> str:
    """The call that makes the sampler, without the arguments that are as by default."""
    shown = []
    for name, parameter in inspect.signature(type(sampler)).parameters.items():
        value = getattr(sampler, name, parameter.default)
        if isinstance(value, Tensor) or value != parameter.default:
            shown.append(f"{name}={_short(value)}")
    return f"{type(sampler).__name__}({', '.join(shown)})"


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"tensor of shape {tuple(value.shape)}"
    if isinstance(value, Clamp):
        return repr((value.lower, value.upper))
    if isinstance(value, nn.Module):
        return type(value).__name__
    return getattr(value, "__name__", None) or repr(value)
