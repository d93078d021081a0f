"""Any function of a tensor as a compressor: it runs, and the step goes along what it gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from effebm_ext.limits import Clip
from effebm_ext.ops.checks import check_apart, check_like, check_not_negated
from effebm_ext.ops.clip import clip_gradient
from effebm_ext.ops.step_call import StepCall
from effebm_ext.ops.step_derivative import step_along


class BlackBoxStep(NamedTuple):
    """The results of a step, in new tensors.

    Attributes:
        x: the new state.
        drift: ``C(u)`` for ``u = clip(grad) + residual``, in the compute dtype.
        residual: ``u - C(u)``; None without a residual.
    """

    x: Tensor
    drift: Tensor
    residual: Tensor | None


def black_box_step(
    x: Tensor,
    grad: Tensor,
    residual: Tensor | None,
    function: Callable[[Tensor], Tensor],
    clip: Clip | None,
    call: StepCall,
) -> BlackBoxStep:
    """A step with a function as compressor. Nothing is written, so that a function that raises
    changes nothing; the residual is checked as one that is going to be overwritten.

    Raises:
        TypeError, ValueError: the function returns no tensor of the shape and dtype it was given;
            clip is of another type; the residual is a negated view.
        RuntimeError: the residual overlaps with x or grad in memory.
    """
    if residual is not None:
        check_apart(x, residual, "residual and x")
        check_apart(grad, residual, "residual and grad")
        check_not_negated(residual, "residual")
    c, new_residual = black_box_drift(grad, residual, function, clip)
    return BlackBoxStep(step_along(x, c, call), c, new_residual)


def black_box_drift(
    grad: Tensor,
    residual: Tensor | None,
    function: Callable[[Tensor], Tensor],
    clip: Clip | None,
) -> tuple[Tensor, Tensor | None]:
    """The drift and the new residual of :func:`black_box_step`."""
    u = clip_gradient(grad, clip)
    if residual is not None:
        u = u + residual
    c = function(u if residual is None else u.clone())  # which it may well write
    check_like(c, u, "what compressor returned", u.dtype)
    return c, None if residual is None else u - c
