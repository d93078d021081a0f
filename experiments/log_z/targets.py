"""Densities with a known log Z and exact samples, all in float64."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

GRID_POINTS = 4001


@dataclasses.dataclass(frozen=True)
class Target:
    """The density ``exp(-energy(x)) / Z`` on vectors of ``dimensions`` numbers. ``sample`` draws
    independent samples ``(n, dimensions)`` with a generator of the CPU."""

    dimensions: int
    energy: Callable[[Tensor], Tensor]
    log_z: float
    sample: Callable[[int, torch.Generator], Tensor]


def _normal(n: int, d: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def funnel(dimensions: int = 10, std: float = 3.0) -> Target:
    """R. Neal, Slice sampling, Annals of Statistics 31 (2003): v has the standard deviation std,
    and given v the other elements have the variance exp(v)."""
    rest = dimensions - 1

    def energy(x: Tensor) -> Tensor:
        v, squares = x[:, 0], x[:, 1:].square().sum(1)
        return (v / std).square() / 2 + squares * (-v).exp() / 2 + rest * v / 2

    def sample(n: int, generator: torch.Generator) -> Tensor:
        z = _normal(n, dimensions, generator)
        v = std * z[:, :1]
        return torch.cat([v, (v / 2).exp() * z[:, 1:]], 1)

    log_z = dimensions / 2 * math.log(2 * math.pi) + math.log(std)
    return Target(dimensions, energy, log_z, sample)


def gaussians(components: int = 40, half_width: float = 40.0, seed: int = 0) -> Target:
    """An equal mixture in the plane, as in L. Midgley et al., Flow annealed importance sampling
    bootstrap, arXiv 2208.01893: means uniform in a square, variances ``log(1 + e)``."""
    variance = math.log(1 + math.e)
    places = torch.Generator().manual_seed(seed)
    means = torch.rand(components, 2, generator=places, dtype=torch.float64)
    means = half_width * (2 * means - 1)

    def energy(x: Tensor) -> Tensor:
        squares = (x[:, None] - means).square().sum(2)
        return -torch.logsumexp(-squares / (2 * variance), 1)

    def sample(n: int, generator: torch.Generator) -> Tensor:
        which = torch.randint(components, (n,), generator=generator)
        return means[which] + math.sqrt(variance) * _normal(n, 2, generator)

    return Target(2, energy, math.log(2 * math.pi * variance * components), sample)


def many_well(wells: int = 16) -> Target:
    """Independent pairs with the energy ``a^4 - 6 a^2 - a / 2 + b^2 / 2``, as in L. Midgley et al.,
    arXiv 2208.01893, with ``2^wells`` modes: all a come first, then all b. The integral over a is a
    sum on a grid, which converges faster than any power; a is drawn by inversion of the sums."""
    grid = torch.linspace(-4, 4, GRID_POINTS, dtype=torch.float64)
    step = float(grid[1] - grid[0])

    def well(a: Tensor) -> Tensor:
        return a**4 - 6 * a.square() - a / 2

    def energy(x: Tensor) -> Tensor:
        a, b = x[:, :wells], x[:, wells:]
        return (well(a) + b.square() / 2).sum(1)

    def sample(n: int, generator: torch.Generator) -> Tensor:
        drawn = torch.multinomial((-well(grid)).softmax(0), n * wells, True, generator=generator)
        return torch.cat([grid[drawn].view(n, wells), _normal(n, wells, generator)], 1)

    of_pair = float(torch.logsumexp(-well(grid), 0)) + math.log(step) + math.log(2 * math.pi) / 2
    return Target(2 * wells, energy, wells * of_pair, sample)


def student(dimensions: int = 10, degrees: int = 3) -> Target:
    """Student's t with the unit matrix: ``(1 + |x|^2 / degrees)^(-(degrees + dimensions) / 2)``."""
    power = (degrees + dimensions) / 2

    def energy(x: Tensor) -> Tensor:
        return power * torch.log1p(x.square().sum(1) / degrees)

    def sample(n: int, generator: torch.Generator) -> Tensor:
        chi_squared = _normal(n, degrees, generator).square().sum(1, keepdim=True)
        return _normal(n, dimensions, generator) * (degrees / chi_squared).sqrt()

    log_z = (
        math.lgamma(degrees / 2) - math.lgamma(power) + dimensions / 2 * math.log(degrees * math.pi)
    )
    return Target(dimensions, energy, log_z, sample)


def phi4(sites: int = 16, coupling: float = 2.0, depth: float = 1.0, points: int = 241) -> Target:
    """The phi^4 model on a ring, ``sum coupling (x_i - x_{i+1})^2 / 2 + depth (x_i^2 - 1)^2``.

    Z is the trace of the power ``sites`` of the transfer matrix on a grid. The sums over the grid
    stand for integrals of smooth functions that vanish at its ends, so they converge faster than
    any power of the spacing. Samples are drawn on the same grid: the first site from the diagonal
    of the power, every other site given its predecessor and the first, by the powers in between.
    """
    grid = torch.linspace(-3, 3, points, dtype=torch.float64)
    on_site = depth * (grid.square() - 1).square()
    bond = coupling * (grid[:, None] - grid).square() / 2
    step = (-(bond + (on_site[:, None] + on_site) / 2)).exp() * float(grid[1] - grid[0])
    powers = [torch.eye(points, dtype=torch.float64)]
    for _ in range(sites):
        powers.append(powers[-1] @ step)

    def energy(x: Tensor) -> Tensor:
        bonds = coupling * (x - x.roll(1, 1)).square() / 2
        return (bonds + depth * (x.square() - 1).square()).sum(1)

    def sample(n: int, generator: torch.Generator) -> Tensor:
        def drawn(weights: Tensor, n: int) -> Tensor:
            return torch.multinomial(weights, n, True, generator=generator)

        first = drawn(powers[sites].diagonal(), n)
        chain = [first]
        for i in range(1, sites):
            chain.append(drawn(step[chain[-1]] * powers[sites - i][:, first].T, 1)[:, 0])
        return grid[torch.stack(chain, 1)]

    return Target(sites, energy, float(powers[sites].trace().log()), sample)


TARGETS = {
    "funnel, 10-d": funnel,
    "40 Gaussians, 2-d": gaussians,
    "many-well, 32-d": many_well,
    "Student t, 10-d": student,
    "phi^4, 16 sites": phi4,
}
