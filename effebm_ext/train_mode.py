"""Modules whose values for one row depend on the other rows, or on chance."""

from __future__ import annotations

import weakref

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from effebm_ext.warn import warn

_warned: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def warn_if_rows_are_coupled(function: object) -> None:
    """Warns, once for every network, if an energy or a score is a module in training mode with
    batch statistics or dropout. It cannot look inside a function that is not a module."""
    if not isinstance(function, nn.Module) or torch.compiler.is_compiling() or function in _warned:
        return
    for name, module in function.named_modules():
        if _couples(module):
            _warned.add(function)
            warn(
                f"{type(function).__name__} is in training mode with {name or 'itself'} "
                f"({type(module).__name__}): its value for one chain or row then depends on the "
                "others or on chance, and every evaluation may change the module. Call eval() on "
                "it, or take GroupNorm or LayerNorm, unless this is wanted."
            )
            return


def _couples(module: nn.Module) -> bool:
    if isinstance(module, _BatchNorm):
        return module.training or module.running_mean is None
    if isinstance(module, _InstanceNorm):
        return module.training and module.track_running_stats
    return isinstance(module, _DropoutNd) and module.training and module.p > 0
