"""The clipped gradient: the op ``drift`` without a compressor, as autograd sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from effebm_ext import _C
from effebm_ext.limits import Clip
from effebm_ext.ops.checks import compute_dtype, is_differentiated
from effebm_ext.ops.step_call import drift_arguments
from effebm_ext.transforms import forward_formula, is_transformed

_DRIFT = torch.ops.effebm.drift.default


def clip_gradient(grad: Tensor, clip: Clip | None) -> Tensor:
    """``clip(grad)`` in the compute dtype, differentiable almost everywhere."""
    if is_transformed():
        return _Transformable.apply(grad, clip)
    if is_differentiated(grad):
        return _Differentiable.apply(grad, clip)
    return clip_with_statistics(grad, clip)[0]


def clip_with_statistics(grad: Tensor, clip: Clip | None) -> tuple[Tensor, Tensor]:
    """The same, and the statistics that :func:`effebm_ext.langevin_step_` can be asked for."""
    return _DRIFT(grad, None, _C.ROW_SUMS_STATISTICS, *drift_arguments(grad, None, clip))


class _Differentiable(torch.autograd.Function):
    """The clip in reverse mode only: torch.compile traces no function that has a forward mode."""

    @staticmethod
    def forward(grad: Tensor, clip: Clip | None) -> Tensor:
        return clip_with_statistics(grad, clip)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        grad, ctx.clip = inputs
        ctx.save_for_backward(grad)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (grad,) = ctx.saved_tensors
        if ctx.clip is not None:
            gradient = ctx.clip.vjp(grad.to(gradient.dtype), gradient)
        return gradient.to(grad.dtype), None


class _Transformable(_Differentiable):
    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _Differentiable.setup_context(ctx, inputs, output)
        ctx.save_for_forward(inputs[0])

    @staticmethod
    @forward_formula
    def jvp(ctx: Any, saved: Sequence[Tensor], tangent: Tensor, _: None) -> Tensor:
        (grad,) = saved
        tangent = tangent.to(compute_dtype(grad.dtype))
        if ctx.clip is None:
            return tangent.clone()
        return ctx.clip.vjp(grad.to(tangent.dtype), tangent)
