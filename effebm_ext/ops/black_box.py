"""Any function of a tensor as a compressor: it runs, and the update goes along what it gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

import torch
from torch import Tensor

from effebm_ext.ops.checks import check_like
from effebm_ext.ops.step_arguments import Compressor
from effebm_ext.transforms import without_levels


def is_black_box(compressor: Compressor | None) -> TypeGuard[Callable[[Tensor], Tensor]]:
    """Whether a compressor is none that the kernels know."""
    return callable(compressor)


def apply_black_box(
    compressor: Callable[[Tensor], Tensor], gradient: Tensor, residual: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """``C(u)`` for ``u = gradient + residual``, both of the compute dtype; and the new residual
    ``u - C(u)``. Nothing is written.

    Raises:
        TypeError, ValueError: the function returns no tensor of the shape and dtype it was given.
    """
    if residual is None:
        c = compressor(gradient)
        check_like(c, gradient, "what compressor returned", gradient.dtype)
        return c, None
    u = gradient + residual
    c = compressor(u.clone())  # which it may well write
    check_like(c, u, "what compressor returned", u.dtype)
    return c, u - c


def overwrite(old: Tensor | None, new: Tensor | None) -> None:
    if old is not None and new is not None:
        old.copy_(new)


def check_apart(
    a: Tensor | None, b: Tensor | None, names: str, *, may_be_same: bool = False
) -> None:
    """What the kernels ask of tensors of which one is written, where it is written without them."""
    if type(a) is not Tensor or type(b) is not Tensor or torch.compiler.is_compiling():
        return
    (begin_a, end_a), (begin_b, end_b) = _extent(without_levels(a)), _extent(without_levels(b))
    same = may_be_same and (begin_a, end_a) == (begin_b, end_b)
    if not (same or end_a <= begin_b or end_b <= begin_a):
        raise RuntimeError(f"{names}: expected tensors that do not overlap in memory")


def _extent(t: Tensor) -> tuple[int, int]:
    if t.numel() == 0 or t.is_meta:
        return 0, 0
    last = sum((n - 1) * stride for n, stride in zip(t.shape, t.stride(), strict=True))
    return t.data_ptr(), t.data_ptr() + (last + 1) * t.element_size()
