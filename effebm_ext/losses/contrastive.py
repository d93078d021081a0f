"""Contrastive divergence: lower the energy of data, raise that of the model's own samples."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ContrastiveLoss(NamedTuple):
    """``loss``: to be minimised. ``energy_gap``: mean energy of samples minus that of data."""

    loss: Tensor
    energy_gap: Tensor


def contrastive_divergence(
    data_energy: Tensor,
    sample_energy: Tensor,
    *,
    energy_l2: float = 0.0,
    weights: Tensor | None = None,
) -> ContrastiveLoss:
    """``mean E(data) - mean E(samples) + energy_l2 * (mean E(data)^2 + mean E(samples)^2)``.

    The gradient of the first two terms is the maximum-likelihood gradient where samples come from
    the model (EFF-EBM, Algorithm 1, with f = -E); samples must not carry a graph of their own. The
    square keeps the energies, which are defined up to a constant, near zero (as in IGEBM).

    Args:
        data_energy: energies of a batch of data ``(n,)``.
        sample_energy: energies of the chains ``(m,)``.
        energy_l2: weight of the squared energies, >= 0.
        weights: of the samples ``(m,)``, of sum one, in the place of their mean (arXiv 2305.19414).
    """

    def over_samples(values: Tensor) -> Tensor:
        return values.mean() if weights is None else (weights * values).sum()

    difference = data_energy.mean() - over_samples(sample_energy)
    loss = difference
    if energy_l2:
        squares = data_energy.square().mean() + over_samples(sample_energy.square())
        loss = loss + energy_l2 * squares
    return ContrastiveLoss(loss, -difference.detach())
