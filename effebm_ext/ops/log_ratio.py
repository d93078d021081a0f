"""log_ratio: the logarithm of the ratio that makes a Langevin step exact, for each chain."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from effebm_ext.ops.checks import check_not_transformed

_LOG_RATIO = torch.ops.effebm.log_ratio.default


def log_ratio(
    energy: Tensor, new_energy: Tensor, sums: Tensor, back_sums: Tensor, step_size: float
) -> Tensor:
    """Returns ``E(x) - E'(x') + log q'(x | x') - log q(x' | x)``, float64 ``(n_chains,)``, in the
    order of the numerical contract; -inf where E'(x') is +inf.

    Args:
        energy, new_energy: E(x) and E'(x'), ``(n_chains,)``. If their dtypes differ, the shorter
            ones are widened.
        sums: ``(n_chains, 2)``, ``drift_dot_delta`` and ``drift_sq`` of the step from x to x', see
            :class:`effebm_ext.ops.langevin_transition.Transition`; float32 or float64.
        back_sums: the same of the drift at x', with the same delta.
        step_size: gamma, with ``noise_std**2 = gamma``.

    Not differentiable, and not for ``torch.vmap``.

    Raises:
        RuntimeError: a tensor does not fit the others.
    """
    check_not_transformed("log_ratio", energy, new_energy, sums, back_sums)
    return _LOG_RATIO(*of_one_dtype(energy, new_energy), sums, back_sums, step_size)


def of_one_dtype(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Returns two tensors in the wider of their dtypes."""
    if a.dtype is b.dtype:
        return a, b
    dtype = torch.promote_types(a.dtype, b.dtype)
    return a.to(dtype), b.to(dtype)


@torch.library.register_fake("effebm::log_ratio")
def _(
    energy: Tensor, new_energy: Tensor, sums: Tensor, back_sums: Tensor, step_size: float
) -> Tensor:
    return energy.new_empty(energy.shape[0], dtype=torch.float64)


def log_ratio_reference(
    energy: Tensor, new_energy: Tensor, sums: Tensor, back_sums: Tensor, step_size: float
) -> Tensor:
    """Returns the same numbers in plain PyTorch."""
    (dot, square), (back_dot, back_square) = sums.double().unbind(1), back_sums.double().unbind(1)
    differences = energy.double() - new_energy.double()
    ratio = differences + (dot + back_dot) / 2 + step_size / 8 * (square - back_square)
    return torch.where(new_energy == math.inf, -math.inf, ratio)
