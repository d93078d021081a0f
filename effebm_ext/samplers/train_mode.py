"""Modules whose values for one chain depend on the other chains, or on chance."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from effebm_ext.warn import warn


def warn_if_chains_are_coupled(function: object) -> bool:
    """Warns if an energy or a score is a module in training mode with batch statistics or dropout.
    It cannot look inside a function that is not a module.

    Returns:
        Whether it warned.
    """
    if not isinstance(function, nn.Module):
        return False
    found = [f"{name or 'itself'} ({type(m).__name__})" for name, m in function.named_modules()
             if _couples(m)]  # fmt: skip
    if not found:
        return False
    warn(
        f"{type(function).__name__} is in training mode with {found[0]}: the energy of a chain "
        "then depends on the other chains or on chance, and every evaluation may change the "
        "module. Call eval() on it, unless this is wanted."
    )
    return True


def _couples(module: nn.Module) -> bool:
    if isinstance(module, _BatchNorm):
        return module.training or module.running_mean is None
    return isinstance(module, _DropoutNd) and module.training and module.p > 0
