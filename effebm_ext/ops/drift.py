"""drift: the clipped and compressed gradient that a step moves along, and sums over its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from effebm_ext import _C
from effebm_ext.ops.black_box import apply_black_box, is_black_box
from effebm_ext.ops.checks import (
    check_like,
    check_not_differentiated,
    check_state,
    compute_dtype,
    is_differentiated,
)
from effebm_ext.ops.step_arguments import Clip, Compressor, drift_arguments
from effebm_ext.ops.vmap import rule_by_folding
from effebm_ext.transforms import forward_formula, is_transformed

_DRIFT = torch.ops.effebm.drift.default


class Drift(NamedTuple):
    """``drift``: ``(n_chains, *event)``. ``drift_dot_delta``, ``drift_sq``: ``(n_chains,)``. All
    float32 (float64 for float64 states)."""

    drift: Tensor
    drift_dot_delta: Tensor
    drift_sq: Tensor


def drift(
    grad: Tensor,
    *,
    compressor: Compressor | None = None,
    clip: Clip | None = None,
    delta: Tensor | None = None,
) -> Drift:
    """The drift ``C(clip(grad))``, its product with a displacement and its square, in one pass.

    What :func:`effebm_ext.langevin_transition` says of a move from x to x', this says of the
    reverse move, with the gradient at x' and ``delta = x' - x``: Metropolis acceptance and
    importance weights need both halves. The sums are taken in the order of the numerical contract.
    Not differentiable; ``torch.vmap`` folds its axis into the chains.

    Args:
        grad: gradient of the energy, float32, float64, bfloat16 or float16 ``(n_chains, *event)``.
        compressor, clip: as in :func:`effebm_ext.langevin_step_`.
        delta: ``(n_chains, *event)``, float32 (float64 for float64 gradients); None stands for
            zeros.

    Raises:
        TypeError, ValueError, RuntimeError: as :func:`effebm_ext.langevin_step_`.
    """
    check_state(grad, "grad")
    check_not_differentiated("drift", grad, delta)
    if delta is not None:
        check_like(delta, grad, "delta", compute_dtype(grad.dtype))
    if is_black_box(compressor):
        with torch.no_grad():  # the function may have parameters
            grad, _ = apply_black_box(compressor, clip_gradient(grad, clip))
        compressor = clip = None
    arguments = drift_arguments(grad, compressor, clip)
    applied, sums = _DRIFT(grad, delta, _C.ROW_SUMS_TRANSITION, *arguments)
    return Drift(applied, sums[:, 0], sums[:, 1])


def clip_gradient(grad: Tensor, clip: Clip | None) -> Tensor:
    """``clip(grad)`` in the compute dtype, differentiable almost everywhere."""
    if is_transformed():
        return _TransformableClip.apply(grad, clip)
    if is_differentiated(grad):
        return _DifferentiableClip.apply(grad, clip)
    return clip_with_statistics(grad, clip)[0]


def clip_with_statistics(grad: Tensor, clip: Clip | None) -> tuple[Tensor, Tensor]:
    """The same, and the statistics that :func:`effebm_ext.langevin_step_` can be asked for."""
    return _DRIFT(grad, None, _C.ROW_SUMS_STATISTICS, *drift_arguments(grad, None, clip))


class _DifferentiableClip(torch.autograd.Function):
    """In reverse mode only: torch.compile traces no function that has a forward mode."""

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


class _TransformableClip(_DifferentiableClip):
    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        grad, ctx.clip = inputs
        ctx.save_for_backward(grad)
        ctx.save_for_forward(grad)

    @staticmethod
    @forward_formula
    def jvp(ctx: Any, saved: Sequence[Tensor], tangent: Tensor, _: None) -> Tensor:
        (grad,) = saved
        tangent = tangent.to(compute_dtype(grad.dtype))
        if ctx.clip is None:
            return tangent.clone()
        return ctx.clip.vjp(grad.to(tangent.dtype), tangent)


@torch.library.register_fake("effebm::drift")
def _(grad: Tensor, delta: Tensor | None, *arguments: object) -> tuple[Tensor, Tensor]:
    dtype = compute_dtype(grad.dtype)
    applied = torch.empty_like(grad, dtype=dtype, memory_format=torch.contiguous_format)
    return applied, grad.new_empty((grad.shape[0], 2), dtype=dtype)


torch.library.register_vmap("effebm::drift", rule_by_folding(_DRIFT, chains=(0, 1), axes=(0, 0)))
