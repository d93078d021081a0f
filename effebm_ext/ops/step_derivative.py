"""The functional Langevin step as autograd sees it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from effebm_ext.limits import Reflect
from effebm_ext.ops.checks import compute_dtype, is_differentiated
from effebm_ext.ops.drift import clip_gradient
from effebm_ext.ops.step_arguments import (
    STEP_SIZE,
    STEP_SIZES,
    Bounds,
    Clip,
    Compressor,
    bounds_arguments,
)

_STEP = torch.ops.effebm.langevin_step.default


def differentiable_step(
    x: Tensor,
    grad: Tensor,
    compressor: Compressor | None,
    clip: Clip | None,
    bounds: Bounds | None,
    arguments: list[object],
) -> Tensor:
    """langevin_step by ``arguments`` in the order of the schema, which the others repeat."""
    if is_differentiated(x, grad):
        return _Differentiable.apply(x, grad, compressor, clip, bounds, *arguments)
    return _STEP(x, grad, *arguments)


class _Differentiable(torch.autograd.Function):
    """Keeps x and grad alone: what bounds did is found by making the step again without them."""

    @staticmethod
    def forward(
        x: Tensor,
        grad: Tensor,
        compressor: Compressor | None,
        clip: Clip | None,
        bounds: Bounds | None,
        *arguments: Any,
    ) -> Tensor:
        return _STEP(x, grad, *arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, grad, ctx.compressor, ctx.clip, ctx.bounds, *arguments = inputs
        tensors = [a for a in arguments if isinstance(a, Tensor)]
        ctx.save_for_backward(x, grad, *tensors)
        ctx.arguments = [None if isinstance(a, Tensor) else a for a in arguments]
        ctx.positions = [i for i, a in enumerate(arguments) if isinstance(a, Tensor)]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, grad, *tensors = ctx.saved_tensors
        arguments = list(ctx.arguments)
        for position, t in zip(ctx.positions, tensors, strict=True):
            arguments[position] = t
        dtype = compute_dtype(x.dtype)
        to_x = gradient.to(dtype)
        if ctx.bounds is not None:
            free = _STEP(x, grad, *arguments[: -len(bounds_arguments(ctx.bounds))]).to(dtype)
            to_x = to_x * _bounds_derivative(ctx.bounds, free)
        to_grad = None
        if ctx.needs_input_grad[1]:
            u = grad.to(dtype)
            clipped = u if ctx.clip is None else clip_gradient(grad, ctx.clip)
            to_u = to_x if ctx.compressor is None else ctx.compressor.vjp(clipped, to_x)
            if ctx.clip is not None:
                to_u = ctx.clip.vjp(u, to_u)
            step = (
                arguments[STEP_SIZE]
                if arguments[STEP_SIZES] is None
                else _per_chain(arguments[STEP_SIZES], x)
            )
            to_grad = (-0.5 * step * to_u).to(grad.dtype)
        return (to_x.to(x.dtype), to_grad, *[None] * (3 + len(arguments)))


def _per_chain(values: Tensor, x: Tensor) -> Tensor:
    """``()`` or ``(n_chains,)`` against the axes of x."""
    return values.reshape(-1, *[1] * (x.dim() - 1)) if values.dim() else values


def _bounds_derivative(bounds: Bounds, free: Tensor) -> Tensor:
    """Of a state after the bounds by the state before them."""
    low, high = (bounds.lower, bounds.upper) if isinstance(bounds, Reflect) else bounds
    inside = (free >= low) & (free <= high)
    if not isinstance(bounds, Reflect):
        return inside.to(free.dtype)
    mirrored = torch.where(free < low, 2 * low - free, 2 * high - free)
    back = (mirrored >= low) & (mirrored <= high)
    return torch.where(inside, 1.0, torch.where(back, -1.0, 0.0)).to(free.dtype)
