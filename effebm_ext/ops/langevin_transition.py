"""langevin_transition: a Langevin step that also says what it did."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from effebm_ext.ops.black_box import apply_black_box, is_black_box, overwrite
from effebm_ext.ops.checks import (
    check_not_negated,
    check_not_transformed,
    check_state,
    compute_dtype,
    refuse_negated,
)
from effebm_ext.ops.drift import clip_gradient, drift
from effebm_ext.ops.langevin_step import (
    check_residual,
    check_residual_apart,
    increment_version,
    step_along,
)
from effebm_ext.ops.step_arguments import Bounds, Clip, Compressor, step_arguments
from effebm_ext.rng import Rng

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
    drift that depends on the state alone). That excludes a residual, which makes the drift depend
    on the past, and bounds.

    ``drift`` can be kept in less memory without loss: ``compressor.pack(drift)``.

    Returns:
        A :class:`Transition` of new tensors. Not differentiable, and not for ``torch.vmap``.

    Raises:
        What :func:`effebm_ext.langevin_step_` raises.
    """
    check_state(x)
    check_not_transformed("langevin_transition", x, grad, residual, step_size, noise_std)
    check_residual(residual, x, compressor)
    if is_black_box(compressor):
        move = step_arguments(x, grad, step_size, None, noise_std, None, bounds, rng)
        check_residual_apart(residual, x, grad)
        check_not_negated(residual, "residual")
        with torch.no_grad():  # the function may have parameters
            c, new_residual = apply_black_box(compressor, clip_gradient(grad, clip), residual)
        new_x = step_along(x, c, bounds, move)
        delta = new_x.to(c.dtype) - x.to(c.dtype)
        overwrite(residual, new_residual)
        return Transition(new_x, *drift(c, delta=delta))
    arguments = step_arguments(x, grad, step_size, compressor, noise_std, clip, bounds, rng)
    new_x, applied, sums = _TRANSITION(x, grad, residual, *arguments)
    increment_version(residual)
    return Transition(new_x, applied, sums[:, 0], sums[:, 1])


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
