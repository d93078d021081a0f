"""The functional Langevin step as autograd and torch.vmap see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from effebm_ext.ops.checks import compute_dtype, is_differentiated
from effebm_ext.ops.clip import clip_gradient
from effebm_ext.ops.compressor import is_random
from effebm_ext.ops.step_call import StepCall
from effebm_ext.ops.stochastic_round import round_by
from effebm_ext.ops.vmap import rule_by_folding
from effebm_ext.transforms import forward_formula, is_transformed

_NONE = (None, None, None, None)  # in place of the tensors of a call
_STEP = torch.ops.effebm.langevin_step.default


def differentiable_step(x: Tensor, grad: Tensor, call: StepCall) -> Tensor:
    """The new state."""
    if is_transformed():
        return _Transformable.apply(x, grad, call.with_tensors(*_NONE), *call.tensors())
    if is_differentiated(x, grad):
        return _Differentiable.apply(x, grad, call.with_tensors(*_NONE), *call.tensors())
    return _STEP(x, grad, *call.arguments())


def step_along(x: Tensor, c: Tensor, call: StepCall) -> Tensor:
    """The step from ``x`` along a drift ``c`` of the compute dtype, in the bits of a step whose
    compressor gives ``c``. The call itself is without a drift."""
    if x.dtype == c.dtype:
        return differentiable_step(x, c, call)
    # A 16-bit state is computed with in float32 and rounded once, at the end; its bounds before.
    moved = differentiable_step(x.to(c.dtype), c, call.before_storing())
    if call.bounds is not None:
        moved = call.bounds.apply(moved, x.dtype)
    if not call.stochastic_rounding:
        return call.where_moved(x, moved.to(x.dtype), x)
    return call.where_moved(x, round_by(moved, x.dtype, call.key), x)


class _Differentiable(torch.autograd.Function):
    """Keeps x, grad and the call only: what bounds did is found by making the step again without
    them.

    In reverse mode only: torch.compile traces no function that has a forward mode."""

    @staticmethod
    def forward(x: Tensor, grad: Tensor, call: StepCall, *tensors: Tensor | None) -> Tensor:
        return _STEP(x, grad, *call.with_tensors(*tensors).arguments())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, grad, ctx.call, *tensors = inputs
        ctx.save_for_backward(x, grad, *tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, grad, *tensors = ctx.saved_tensors
        call = ctx.call.with_tensors(*tensors)
        dtype = compute_dtype(x.dtype)
        to_x = gradient.to(dtype)
        if call.bounds is not None:
            to_x = call.where_moved(x, call.bounds.vjp(_free(x, grad, call), to_x), to_x)
        to_grad = None
        if ctx.needs_input_grad[1]:
            to_u = to_x
            if call.compressor is not None:
                to_u = call.compressor.vjp(clip_gradient(grad, call.clip), to_u, call.key)
            if call.clip is not None:
                to_u = call.clip.vjp(grad.to(dtype), to_u)
            to_grad = (-0.5 * call.step_size_for(x) * to_u).to(grad.dtype)
        return to_x.to(x.dtype), to_grad, None, *_NONE


class _Transformable(_Differentiable):
    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _Differentiable.setup_context(ctx, inputs, output)
        x, grad, _, *tensors = inputs
        ctx.save_for_forward(x, grad, *tensors)

    @staticmethod
    @forward_formula
    def jvp(ctx: Any, saved: Sequence[Tensor], of_x: Tensor, of_grad: Tensor, *_: None) -> Tensor:
        x, grad, *tensors = saved
        call = ctx.call.with_tensors(*tensors)
        dtype = compute_dtype(x.dtype)
        of_u = of_grad.to(dtype)
        if call.clip is not None:
            of_u = call.clip.vjp(grad.to(dtype), of_u)  # its derivative is symmetric
        if call.compressor is not None:
            of_u = call.compressor.vjp(clip_gradient(grad, call.clip), of_u, call.key)
        moved = of_x.to(dtype) - 0.5 * call.step_size_for(x) * of_u
        if call.bounds is not None:
            moved = call.where_moved(x, call.bounds.vjp(_free(x, grad, call), moved), moved)
        return moved.to(x.dtype)


def _free(x: Tensor, grad: Tensor, call: StepCall) -> Tensor:
    """The new state before the bounds, in the compute dtype."""
    return _STEP(x, grad, *call.without_bounds().arguments()).to(compute_dtype(x.dtype))


def _draws(arguments: Mapping[str, Any]) -> bool:
    noise = arguments["noise_std"] != 0 or arguments["noise_stds"] is not None
    return noise or is_random(arguments) or arguments["stochastic_rounding"]


torch.library.register_vmap(
    "effebm::langevin_step",
    rule_by_folding(
        _STEP,
        chains=("x", "grad"),
        scalars=("step_sizes", "noise_stds"),
        key="key",
        draws=_draws,
    ),
)
