"""drift: the clipped and compressed gradient that a step moves along, and sums over its rows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from effebm_ext import _C
from effebm_ext.limits import Clip
from effebm_ext.ops.black_box import black_box_drift
from effebm_ext.ops.checks import check_like, check_not_differentiated, check_state, compute_dtype
from effebm_ext.ops.compressor import Compressor, is_black_box, is_random
from effebm_ext.ops.step_call import drift_arguments
from effebm_ext.ops.vmap import rule_by_folding
from effebm_ext.rng import Rng

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
    rng: Rng = None,
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
        rng: as in :func:`effebm_ext.langevin_step_`; used by compressors that are random.

    Raises:
        TypeError, ValueError, RuntimeError: as :func:`effebm_ext.langevin_step_`.
    """
    applied, sums = drift_and_sums(grad, compressor=compressor, clip=clip, delta=delta, rng=rng)
    return Drift(applied, sums[:, 0], sums[:, 1])


def drift_and_sums(
    grad: Tensor,
    *,
    compressor: Compressor | None,
    clip: Clip | None,
    delta: Tensor | None,
    rng: Rng,
) -> tuple[Tensor, Tensor]:
    """The same as :func:`drift`, with both sums of a row in one tensor ``(n_chains, 2)``."""
    check_state(grad, "grad")
    check_not_differentiated("drift", grad, delta)
    if delta is not None:
        check_like(delta, grad, "delta", compute_dtype(grad.dtype))
    if is_black_box(compressor):
        with torch.no_grad():  # the function may have parameters
            grad, _ = black_box_drift(grad, None, compressor, clip)
        compressor = clip = None
    arguments = drift_arguments(grad, compressor, clip, rng)
    return _DRIFT(grad, delta, _C.ROW_SUMS_TRANSITION, *arguments)


@torch.library.register_fake("effebm::drift")
def _(grad: Tensor, delta: Tensor | None, *arguments: object) -> tuple[Tensor, Tensor]:
    dtype = compute_dtype(grad.dtype)
    applied = torch.empty_like(grad, dtype=dtype, memory_format=torch.contiguous_format)
    return applied, grad.new_empty((grad.shape[0], 2), dtype=dtype)


torch.library.register_vmap(
    "effebm::drift",
    rule_by_folding(_DRIFT, chains=("grad", "delta"), key="key", draws=is_random, axes=(0, 0)),
)
