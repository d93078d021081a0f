"""The functional Langevin step as autograd and torch.vmap see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from effebm_ext import _C
from effebm_ext.ops.checks import compute_dtype, is_differentiated
from effebm_ext.ops.drift import clip_gradient
from effebm_ext.ops.step_arguments import (
    BOUNDS,
    STEP_SIZE,
    STEP_SIZES,
    Clip,
    Compressor,
)
from effebm_ext.ops.vmap import rule_by_folding
from effebm_ext.transforms import forward_formula, is_transformed

_STEP = torch.ops.effebm.langevin_step.default


def differentiable_step(
    x: Tensor,
    grad: Tensor,
    compressor: Compressor | None,
    clip: Clip | None,
    arguments: list[object],
) -> Tensor:
    """langevin_step by ``arguments`` in the order of the schema, which the others repeat."""
    if is_transformed():
        return _Transformable.apply(x, grad, compressor, clip, *arguments)
    if is_differentiated(x, grad):
        return _Differentiable.apply(x, grad, compressor, clip, *arguments)
    return _STEP(x, grad, *arguments)


class _Differentiable(torch.autograd.Function):
    """Keeps x and grad only: what bounds did is found by making the step again without them.

    In reverse mode only: torch.compile traces no function that has a forward mode."""

    @staticmethod
    def forward(
        x: Tensor,
        grad: Tensor,
        compressor: Compressor | None,
        clip: Clip | None,
        *arguments: Any,
    ) -> Tensor:
        return _STEP(x, grad, *arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, grad, ctx.compressor, ctx.clip, *arguments = inputs
        tensors = [a for a in arguments if isinstance(a, Tensor)]
        ctx.save_for_backward(x, grad, *tensors)
        ctx.arguments = [None if isinstance(a, Tensor) else a for a in arguments]
        ctx.positions = [i for i, a in enumerate(arguments) if isinstance(a, Tensor)]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, grad, arguments = _inputs(ctx, ctx.saved_tensors)
        dtype = compute_dtype(x.dtype)
        to_x = gradient.to(dtype)
        if arguments[BOUNDS:]:
            to_x = to_x * _bounds_derivative(x, grad, arguments)
        to_grad = None
        if ctx.needs_input_grad[1]:
            to_u = to_x
            if ctx.compressor is not None:
                to_u = ctx.compressor.vjp(clip_gradient(grad, ctx.clip), to_u)
            if ctx.clip is not None:
                to_u = ctx.clip.vjp(grad.to(dtype), to_u)
            to_grad = (-0.5 * _step_size(x, arguments) * to_u).to(grad.dtype)
        return (to_x.to(x.dtype), to_grad, *[None] * (2 + len(arguments)))


class _Transformable(_Differentiable):
    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _Differentiable.setup_context(ctx, inputs, output)
        ctx.save_for_forward(*(i for i in inputs if isinstance(i, Tensor)))

    @staticmethod
    @forward_formula
    def jvp(ctx: Any, saved: Sequence[Tensor], of_x: Tensor, of_grad: Tensor, *_: None) -> Tensor:
        x, grad, arguments = _inputs(ctx, saved)
        dtype = compute_dtype(x.dtype)
        of_u = of_grad.to(dtype)
        if ctx.clip is not None:
            of_u = ctx.clip.vjp(grad.to(dtype), of_u)  # its derivative is symmetric
        if ctx.compressor is not None:
            of_u = ctx.compressor.vjp(clip_gradient(grad, ctx.clip), of_u)
        moved = of_x.to(dtype) - 0.5 * _step_size(x, arguments) * of_u
        if arguments[BOUNDS:]:
            moved = moved * _bounds_derivative(x, grad, arguments)
        return moved.to(x.dtype)


def _inputs(ctx: Any, saved: Sequence[Tensor]) -> tuple[Tensor, Tensor, list[Any]]:
    """x, grad and the arguments of the step, whose tensors autograd keeps by themselves."""
    x, grad, *tensors = saved
    arguments = list(ctx.arguments)
    for position, t in zip(ctx.positions, tensors, strict=True):
        arguments[position] = t
    return x, grad, arguments


def _step_size(x: Tensor, arguments: list[Any]) -> float | Tensor:
    """A number, or a tensor against the axes of x."""
    values = arguments[STEP_SIZES]
    if values is None:
        return arguments[STEP_SIZE]
    return values.reshape(-1, *[1] * (x.dim() - 1)) if values.dim() else values


def _bounds_derivative(x: Tensor, grad: Tensor, arguments: list[Any]) -> Tensor:
    """Of a state after the bounds by the state before them."""
    free = _STEP(x, grad, *arguments[:BOUNDS]).to(compute_dtype(x.dtype))
    kind, low, high = arguments[BOUNDS:]
    inside = (free >= low) & (free <= high)
    if kind != _C.BOUNDS_REFLECT:
        return inside.to(free.dtype)
    mirrored = torch.where(free < low, 2 * low - free, 2 * high - free)
    back = (mirrored >= low) & (mirrored <= high)
    return torch.where(inside, 1.0, torch.where(back, -1.0, 0.0)).to(free.dtype)


torch.library.register_vmap(
    "effebm::langevin_step",
    rule_by_folding(
        _STEP,
        chains=(0, 1),
        scalars=(6, 8),
        key=2,
        draws=lambda a: a[7] != 0 or a[8] is not None,  # noise_std and its values for each chain
    ),
)
