"""Densities in the plane, where everything can be summed on a grid: eight Gaussians, and an energy
that may learn them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

RADIUS, WIDTH = 4 / 1.414, 0.5 / 1.414  # of arXiv 2111.13772's code, and of others before it


def centres() -> Tensor:
    """Of the eight Gaussians, float64 ``(8, 2)``."""
    angle = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    return RADIUS * torch.stack([angle.cos(), angle.sin()], 1)


def draw(n: int, generator: torch.Generator) -> Tensor:
    """Points of the eight Gaussians, float32 ``(n, 2)``."""
    mode = torch.randint(8, (n,), generator=generator)
    return centres().float()[mode] + WIDTH * torch.randn(n, 2, generator=generator)


def log_density(x: Tensor) -> Tensor:
    """Of the eight Gaussians at float64 ``x`` ``(n, 2)``."""
    squares = (x[:, None] - centres()).square().sum(2) / WIDTH**2
    return torch.logsumexp(-squares / 2, 1) - math.log(8 * 2 * math.pi * WIDTH**2)


class BasedEnergy(nn.Module):
    """``E(x) = f(x) - log N(x; mean, std)``: a perceptron with two hidden layers of Swish, and a
    Gaussian of independent coordinates, which is learnt too. Far out, where f is linear, the
    Gaussian makes sure that the density can be normalised.

    Args:
        mean, std: where the Gaussian starts, ``(2,)`` each.
        hidden: units of a hidden layer.
    """

    def __init__(self, mean: Tensor, std: Tensor, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(),
            nn.Linear(hidden, 1, bias=False),
        )  # fmt: skip
        self.mean = nn.Parameter(mean.clone())
        self.log_std = nn.Parameter(std.log())

    def forward(self, x: Tensor) -> Tensor:
        scaled = (x - self.mean) * torch.exp(-self.log_std)
        return self.net(x).squeeze(1) + scaled.square().sum(1) / 2 + self.log_std.sum()


class Fit(NamedTuple):
    """``log_likelihood``: the expectation over the eight Gaussians, nats. ``model_energy``: the
    expectation of the energy over the model. ``edge``: the model's mass at the grid's edge, which
    says whether the grid was large enough."""

    log_likelihood: float
    model_energy: float
    edge: float


class Grid:
    """``size * size`` points of a square, ten standard deviations of the data wide. On smooth
    densities that vanish at its edge, sums over it are integrals to more digits than are shown.

    Args:
        size: points along a side.
    """

    def __init__(self, size: int) -> None:
        side = torch.linspace(-10, 10, size, dtype=torch.float64)
        self.size, self.log_cell = size, 2 * math.log(20 / (size - 1))
        self.x = torch.cartesian_prod(side, side)
        self.data = log_density(self.x)

    def optimum(self) -> float:
        """The log-likelihood of the eight Gaussians themselves: minus their entropy."""
        return float((self.data.exp() * self.data).sum()) * math.exp(self.log_cell)

    @torch.no_grad()
    def energies(self, energy: nn.Module) -> Tensor:
        """At all points, float64 ``(size * size,)``."""
        return torch.cat([energy(rows) for rows in self.x.float().split(4096)]).double()

    def fit(self, energy: nn.Module) -> Fit:
        """Of a model to the eight Gaussians."""
        e = self.energies(energy)
        log_z = torch.logsumexp(-e, 0) + self.log_cell
        model = (-e - log_z + self.log_cell).exp()
        data = (self.data + self.log_cell).exp()
        border = model.view(self.size, self.size).clone()
        border[1:-1, 1:-1] = 0
        return Fit(float(-(data * e).sum() - log_z), float((model * e).sum()), float(border.sum()))
