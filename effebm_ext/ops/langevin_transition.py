"""langevin_transition: a Langevin step that also says what it did."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from effebm_ext.limits import Bounds, Clip
from effebm_ext.ops.black_box import black_box_step
from effebm_ext.ops.checks import (
    check_like,
    check_not_transformed,
    check_residual,
    check_state,
    compute_dtype,
    increment_version,
    refuse_negated,
)
from effebm_ext.ops.compressor import Compressor, FusedCompressor, is_black_box
from effebm_ext.ops.drift import drift
from effebm_ext.ops.step_call import StepCall
from effebm_ext.rng import Key, Rng

_TRANSITION = torch.ops.effebm.langevin_transition.default


class Transition(NamedTuple):
    """A move from x to x'.

    Attributes:
        x: the new state x', ``(n_chains, *event)``, of the old one's dtype.
        drift: ``C(clip(grad))``, or ``C(clip(grad) + residual)``, as it was applied; float32
            (float64 for float64 states).
        drift_dot_delta: ``(n_chains,)``, the sum of ``drift * (x' - x)``, with x' as it is stored.
        drift_sq: ``(n_chains,)``, the sum of ``drift**2``.
    """

    x: Tensor
    drift: Tensor
    drift_dot_delta: Tensor
    drift_sq: Tensor


def langevin_transition(
    x: Tensor,
    grad: Tensor,
    step_size: float | Tensor,
    *,
    compressor: Compressor | None = None,
    noise_std: float | Tensor | None = None,
    clip: Clip | None = None,
    bounds: Bounds | None = None,
    residual: Tensor | None = None,
    stochastic_rounding: bool = False,
    averaged_noise: bool = False,
    rng: Rng = None,
) -> Transition:
    """A Langevin step into a new tensor, with its drift and the sums over chains that Metropolis
    acceptance and importance weights need, all in the one pass of the step.

    The arguments are those of :func:`effebm_ext.langevin_step_`, the new state is the same to the
    bit. The reverse half, at x', is :func:`effebm_ext.drift` with ``delta = x' - x``. With
    ``h = step_size / 2`` and ``noise_std**2 = 2 h`` the ratio of proposal densities is::

        log q(x | x') - log q(x' | x)
            = (drift_dot_delta + drift_dot_delta') / 2 + h / 4 * (drift_sq - drift_sq')

    with primes for the reverse half (the Langevin proposal of Roberts and Tweedie 1996, for any
    drift that depends on the state alone, or on random numbers too that are drawn afresh for every
    state; the drift of the reverse half is then also the one to go on with, docs/sampling.md). That
    excludes a residual, which makes the drift depend on the past, averaged noise, and bounds.

    ``drift`` can be kept in less memory without loss: ``compressor.pack(drift)``.

    Returns:
        A :class:`Transition` of new tensors. Not differentiable, and not for ``torch.vmap``.

    Raises:
        Exception: what :func:`effebm_ext.langevin_step_` raises.
    """
    check_state(x)
    check_not_transformed("langevin_transition", x, grad, residual, step_size, noise_std)
    if residual is not None:
        check_residual(residual, x, compressor)
    check_like(grad, x, "grad", x.dtype)
    call = StepCall.of(
        x, step_size, compressor, noise_std, clip, bounds, rng, stochastic_rounding, averaged_noise
    )
    if is_black_box(compressor):
        with torch.no_grad():  # the function may have parameters
            step = black_box_step(x, grad, residual, compressor, clip, call)
            if residual is not None and step.residual is not None:
                residual.copy_(step.residual)
        delta = step.x.to(step.drift.dtype) - x.to(step.drift.dtype)
        return Transition(step.x, *drift(step.drift, delta=delta))
    new_x, applied, sums = _TRANSITION(x, grad, residual, *call.arguments())
    if residual is not None:
        increment_version(residual)
    return Transition(new_x, applied, sums[:, 0], sums[:, 1])


def transition_along(
    x: Tensor,
    drift: Tensor,
    step_size: float,
    key: Key,
    compressor: FusedCompressor | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns the new state of a step along a drift that is known, or along what a compressor keeps
    of it, and both sums of a row in one tensor ``(n_chains, 2)``; what it raises is what
    :func:`langevin_transition` raises."""
    check_state(x)
    check_not_transformed("langevin_transition", x, drift)
    check_like(drift, x, "drift", x.dtype)
    call = StepCall.of(x, step_size, compressor, rng=key)
    new_x, _, sums = _TRANSITION(x, drift, None, *call.arguments())
    return new_x, sums


refuse_negated(_TRANSITION)


@torch.library.register_fake("effebm::langevin_transition")
def _(
    x: Tensor, grad: Tensor, residual: Tensor | None, *arguments: object
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = compute_dtype(x.dtype)
    return (
        torch.empty_like(x, memory_format=torch.contiguous_format),
        torch.empty_like(x, dtype=dtype, memory_format=torch.contiguous_format),
        x.new_empty((x.shape[0], 2), dtype=dtype),
    )
