"""Metropolis-adjusted Langevin moves along the geometric path from a standard normal to a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from effebm_ext.energies import energy_and_gradient
from effebm_ext.ops.checks import row_size


class Point(NamedTuple):
    """Chains ``z`` ``(n, *event)`` with the model's energies ``(n,)`` and their gradients at z."""

    z: Tensor
    energy: Tensor
    gradient: Tensor

    @classmethod
    def at(cls, energy: Callable[[Tensor], Tensor], z: Tensor) -> Point:
        """Returns the chains at ``z``, with energies and gradients."""
        return cls(z, *energy_and_gradient(energy, z))

    def potential(self, beta: float) -> Tensor:
        """Returns ``(1 - beta) |z|^2 / 2 + beta E(z)``, float64 ``(n,)``."""
        return (1 - beta) * _half_square(self.z) + beta * self.energy.double()

    def force(self, beta: float) -> Tensor:
        """Returns the gradient of :meth:`potential`, ``(n, *event)``."""
        return (1 - beta) * self.z + beta * self.gradient

    def log_ratio(self) -> Tensor:
        """Returns ``|z|^2 / 2 - E(z)``, float64 ``(n,)``: minus the potential's derivative by
        beta."""
        return _half_square(self.z) - self.energy.double()


def annealed_move(
    energy: Callable[[Tensor], Tensor],
    point: Point,
    beta: float,
    noise_std: float,
    generator: torch.Generator,
) -> tuple[Point, float]:
    """Makes one move that leaves the law ``exp(-potential(beta))`` unchanged, for every noise:
    fresh momenta, one leapfrog step, Metropolis. A step of :class:`effebm_ext.MALA` has the same
    law, but there a new beta would cost one gradient more.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)``; proposals with an energy of nan or inf are
            rejected.
        point: the chains.
        beta: 0 for the standard normal, 1 for the model.
        noise_std: standard deviation of the noise, sqrt(step_size) of a Langevin step.
        generator: CPU generator of the momenta and the acceptances.

    Returns:
        The moved chains, and their mean probability of acceptance.
    """
    start = torch.randn(point.z.shape, generator=generator).to(point.z)
    middle = start - noise_std / 2 * point.force(beta)
    proposal = Point.at(energy, point.z + noise_std * middle)
    end = middle - noise_std / 2 * proposal.force(beta)
    before = point.potential(beta) + _half_square(start)
    after = proposal.potential(beta) + _half_square(end)
    probability = (before - after).exp().clamp(max=1).nan_to_num(0.0)
    uniform = torch.rand(len(start), generator=generator, dtype=torch.float64)
    accept = uniform.to(probability) < probability
    row = accept.view(-1, *[1] * (start.dim() - 1))
    z, gradient = (
        torch.where(row, new, old)
        for new, old in ((proposal.z, point.z), (proposal.gradient, point.gradient))
    )
    moved = Point(z, torch.where(accept, proposal.energy, point.energy), gradient)
    return moved, float(probability.mean())


def _half_square(z: Tensor) -> Tensor:
    return z.double().square().reshape(len(z), row_size(z)).sum(1) / 2
