"""Any function of a tensor as a compressor: it runs, and the update goes along what it gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

from torch import Tensor

from effebm_ext.ops.checks import check_like
from effebm_ext.ops.step_arguments import Compressor


def is_black_box(compressor: Compressor | None) -> TypeGuard[Callable[[Tensor], Tensor]]:
    """Whether a compressor is none that the kernels know."""
    return callable(compressor)


def apply_black_box(
    compressor: Callable[[Tensor], Tensor], gradient: Tensor, residual: Tensor | None = None
) -> Tensor:
    """``C(u)`` for ``u = gradient + residual``, both of the compute dtype; the residual becomes
    ``u - C(u)``.

    Raises:
        TypeError, ValueError: the function returns no tensor of the shape and dtype it was given.
    """
    if residual is None:
        u, c = gradient, compressor(gradient)
    else:
        u = gradient + residual
        c = compressor(u.clone())  # which it may well write
    check_like(c, u, "what compressor returned", u.dtype)
    if residual is not None:
        residual.copy_(u - c)
    return c
