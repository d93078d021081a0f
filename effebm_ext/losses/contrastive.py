"""Contrastive divergence lowers the energy of data and raises the energy of the model's samples."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from effebm_ext.energies import check_floating
from effebm_ext.losses.arguments import widened
from effebm_ext.scalars import as_float

_SUM_TOLERANCE = 0.01  # weights of 16 bits add up to one within less


class ContrastiveLoss(NamedTuple):
    """``loss`` is to be minimised; ``energy_gap`` is the mean energy of samples minus the mean
    energy of data. Both are scalars, float32 or float64."""

    loss: Tensor
    energy_gap: Tensor


def contrastive_divergence(
    data_energy: Tensor,
    sample_energy: Tensor,
    *,
    energy_l2: float = 0.0,
    weights: Tensor | None = None,
) -> ContrastiveLoss:
    """Returns ``mean E(data) - mean E(samples) + energy_l2 * (mean E(data)^2 + mean
    E(samples)^2)``.

    The gradient of the first two terms is the maximum-likelihood gradient if samples come from the
    model (EFF-EBM, Algorithm 1, with f = -E); samples must not carry a graph of their own. The
    squares keep the energies, which are defined up to a constant, near zero (as in IGEBM). They
    change what is learnt, but only a little if the energy can be shifted by a constant. Without
    such a constant, ``lambda |x|^2 / 2`` on data of N(0, I) in d dimensions learns the lambda of
    ``1 / lambda - 1 = energy_l2 (d + 2) (lambda + 1 / lambda)``: 0.883 instead of 1 at energy_l2 =
    0.001 and d = 64.

    Energies of 16 bits, as networks return them under autocast, are widened to float32 before they
    are averaged.

    Args:
        data_energy: energies of a batch of data, ``(n,)`` or ``(n, 1)``, n >= 1.
        sample_energy: energies of the chains, ``(m,)`` or ``(m, 1)``, m >= 1.
        energy_l2: weight of the squared energies, finite and >= 0.
        weights: weights of the samples, ``(m,)``, which take the place of 1 / m (arXiv 2305.19414).
            They are used in the dtype of the energies. Their sum must be one; this is only checked
            on the CPU, since the host would have to wait for a GPU.

    Raises:
        TypeError: energies are no floating-point tensors, or energy_l2 no number.
        ValueError: energies or weights have another shape, or there are none; energy_l2 is negative
            or not finite; the weights do not add up to one.
    """
    data_energy = _energies(data_energy, "data_energy")
    sample_energy = _energies(sample_energy, "sample_energy")
    energy_l2 = as_float(energy_l2, "energy_l2")
    if not 0 <= energy_l2 < math.inf:
        raise ValueError(f"energy_l2: expected a finite number >= 0, got {energy_l2}")
    if weights is not None:
        weights = _checked_weights(weights, sample_energy)

    def over_samples(values: Tensor) -> Tensor:
        return values.mean() if weights is None else (weights * values).sum()

    difference = data_energy.mean() - over_samples(sample_energy)
    loss = difference
    if energy_l2:
        squares = data_energy.square().mean() + over_samples(sample_energy.square())
        loss = loss + energy_l2 * squares
    return ContrastiveLoss(loss, -difference.detach())


def _energies(values: Tensor, name: str) -> Tensor:
    """Returns energies as ``(n,)``, in float32 or wider."""
    check_floating(values, name)
    if values.dim() == 0 or values.shape[1:] not in ((), (1,)) or len(values) == 0:
        raise ValueError(
            f"{name}: expected energies (n,) or (n, 1), n >= 1, got shape {tuple(values.shape)}"
        )
    return widened(values).reshape(len(values))


def _checked_weights(weights: Tensor, energies: Tensor) -> Tensor:
    if weights.shape != energies.shape:
        raise ValueError(
            f"weights: expected one per sample, shape ({len(energies)},), "
            f"got {tuple(weights.shape)}"
        )
    if weights.is_cpu and not torch.compiler.is_compiling():
        total = float(weights.detach().double().sum())
        if abs(total - 1) > _SUM_TOLERANCE:  # nan goes on into the loss
            raise ValueError(f"weights: expected a sum of one, got {total:.6g}")
    return weights.to(energies.dtype)
