"""What forward-mode derivatives and the transforms of torch.func ask of an op.

Inside torch.func and for dual tensors ``requires_grad`` does not say whether a derivative is taken,
and PyTorch takes the derivative of an op without a formula as zero. Wherever a transform is on, the
ops are therefore called through a torch.autograd.Function, which PyTorch asks at every level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import _are_functorch_transforms_active
from torch.autograd import forward_ad


def is_transformed() -> bool:
    """Whether a forward-mode level or a transform of torch.func, such as grad or vmap, is on.

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
    return True


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


def needs_no_grad(op: str) -> str:
    return (
        f"{op} is not differentiable, but an argument requires grad: "
        "detach() it, or call under torch.no_grad()"
    )
