"""Ops under forward-mode derivatives and the transforms of torch.func.

Inside torch.func and for dual tensors ``requires_grad`` does not say whether a derivative is taken,
and PyTorch takes the derivative of an op without a formula as zero. Wherever a transform is on, the
ops are therefore called through a torch.autograd.Function, which PyTorch asks at every level.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import _are_functorch_transforms_active, _functorch
from torch.autograd import forward_ad


def is_transformed() -> bool:
    """Tells whether a forward-mode level or a transform of torch.func, such as grad or vmap, is on.

    Raises:
        RuntimeError: one is on under torch.compile, which would lose the derivatives.
    """
    if forward_ad._current_level < 0 and not _are_functorch_transforms_active():
        return False
    if torch.compiler.is_compiling():
        raise RuntimeError(
            "effebm_ext under torch.compile: expected no forward-mode level and no transform of "
            "torch.func, whose derivatives torch.compile would lose; take them without "
            "torch.compile or without fullgraph=True"
        )
    levels = _functorch.get_interpreter_stack() or []
    # functionalize takes no derivative, and no torch.autograd.Function.
    return forward_ad._current_level >= 0 or any(
        level.key() != _functorch.TransformType.Functionalize for level in levels
    )


def forward_formula(formula: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Makes ``formula(ctx, saved, *tangents)``, with the saved tensors (or None), the ``jvp`` of a
    torch.autograd.Function.

    PyTorch runs it with forward mode off, which within another derivative in forward mode would
    lose the derivative of the tangent; and where it is on, the saved tensors have to be without the
    tangents of this level.
    """

    @functools.wraps(formula)
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        levels = _functorch.get_interpreter_stack() or []
        if sum(level.key() == _functorch.TransformType.Jvp for level in levels) < 2:
            return formula(ctx, ctx.saved_tensors, *tangents)
        with forward_ad._set_fwd_grad_enabled(True):
            saved = [
                forward_ad.unpack_dual(t, level=0).primal
                if t is not None and t.is_floating_point()
                else t
                for t in ctx.saved_tensors
            ]
            return formula(ctx, saved, *tangents)

    return jvp


def check_outside_torch_func(name: str) -> None:
    """For what calls autograd itself.

    Raises:
        RuntimeError: a transform of torch.func is on.
    """
    if _are_functorch_transforms_active():
        raise RuntimeError(
            f"{name}: expected a call outside the transforms of torch.func (vmap, grad, jvp, ...), "
            "as it calls autograd itself; samplers take all chains at once"
        )


def refuse_derivatives(op: str, tensors: Sequence[Tensor]) -> None:
    """For an op that has none, where :func:`is_transformed`.

    Raises:
        RuntimeError: a derivative by one of the tensors is taken, at whatever level.
    """
    if tensors:
        _NotDifferentiable.apply(op, torch.is_grad_enabled(), *tensors)


def refuse_transforms(op: str, tensors: Sequence[Tensor]) -> None:
    """The same, for an op that has no rule for vmap either.

    Raises:
        RuntimeError: also if one of the tensors is vmapped.
    """
    if tensors:
        _NotTransformable.apply(op, torch.is_grad_enabled(), *tensors)


class _NotDifferentiable(torch.autograd.Function):
    """Raises when PyTorch wants to know the derivative of it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(op: str, grad_enabled: bool, *tensors: Tensor) -> Tensor:
        return tensors[0].new_empty(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.op, grad_enabled, *_ = inputs
        if grad_enabled and any(ctx.needs_input_grad):
            raise RuntimeError(needs_no_grad(ctx.op))

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:
        raise RuntimeError(
            f"{ctx.op} is not differentiable, but an argument has a tangent (forward mode): "
            "detach() it"
        )


class _NotTransformable(_NotDifferentiable):
    generate_vmap_rule = False

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], op: str, *_: Any) -> None:
        raise RuntimeError(
            f"{op} under vmap: expected tensors that are not vmapped; fold the axis into the chains"
        )


def without_levels(t: Tensor) -> Tensor:
    """The tensor that has the memory of ``t``, which is within the transforms of torch.func."""
    while _functorch.is_functorch_wrapped_tensor(t):
        t = _functorch.get_unwrapped(t)
    return t


def needs_no_grad(op: str) -> str:
    return (
        f"{op} is not differentiable, but an argument requires grad: "
        "detach() it, or call under torch.no_grad()"
    )
