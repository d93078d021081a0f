"""Laws with known moments, exact samples and partition functions."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from helpers import normal

VARIANCES = torch.tensor([0.25, 1.0, 4.0])
TILTS = torch.tensor([0.5, -1.0, 2.0])


class Law(NamedTuple):
    """``energy`` maps ``(n, d)`` to ``(n,)``; ``draw(n)`` gives exact samples, and ``moments(x)``
    functions of them, ``(n, m)``, divided by what is expected of them: the mean of each is 1."""

    energy: Callable
    draw: Callable
    moments: Callable


def gaussian_energy(x):
    return (x.square() / VARIANCES.to(x)).sum(1) / 2


def banana_energy(x):
    """A normal x_0, and x_1 about a parabola of it."""
    return x[:, 0].square() / 2 + 2 * (x[:, 1] - (x[:, 0].square() - 1) / 2).square()


def quartic_energy(x, share=1.0):
    """The tilted quartic; or, for a share below 1, an energy between it and a standard normal."""
    quartic = x**4 / 4 - TILTS.to(x) * x
    return ((1 - share) * x.square() / 2 + share * quartic).sum(1)


def _gaussian():
    def moments(x):
        z = x.double().square() / VARIANCES
        return torch.cat([z, z.square() / 3], 1)

    return Law(gaussian_energy, lambda n: normal(n, 3, seed=1) * VARIANCES.sqrt(), moments)


def _banana():
    def seen(x):
        a, b = x.double().unbind(1)
        return torch.stack([a**2, a**4, b**2, a**2 * b], 1)

    a, b = torch.arange(-9, 9, 0.04), torch.arange(-5, 45, 0.04)
    grid = torch.cartesian_prod(a.double(), b.double())
    weights = torch.softmax(-banana_energy(grid), 0)
    exact = weights @ seen(grid)

    def draw(n):
        z = normal(n, 2, seed=1)
        return torch.stack([z[:, 0], (z[:, 0].square() - 1) / 2 + z[:, 1] / 2], 1)

    return Law(banana_energy, draw, lambda x: seen(x) / exact)


def _quartic_grid(share=1.0):
    """A grid ``(m, 1)``, and the density without its factor there for every entry, ``(m, 3)``."""
    grid = torch.arange(-8, 8, 0.002, dtype=torch.float64)[:, None]
    quartic = grid**4 / 4 - TILTS * grid
    return grid, (-(1 - share) * grid**2 / 2 - share * quartic).exp()


def quartic_log_z(share=1.0):
    """log Z of :func:`quartic_energy`, by quadrature."""
    _, density = _quartic_grid(share)
    return float((density.sum(0) * 0.002).log().sum())


def quartic_law(share=1.0):
    """The law of :func:`quartic_energy`."""
    grid, density = _quartic_grid(share)
    shares = density / density.sum(0)
    exact = torch.cat([shares.T @ grid**power for power in (1, 2, 4)])[:, 0]

    def draw(n):
        uniforms = 0.5 * (1 + torch.erf(normal(n, 3, seed=1).double() / math.sqrt(2)))
        rows = torch.searchsorted(shares.cumsum(0).T.contiguous(), uniforms.T.contiguous())
        return grid[rows.clamp(max=len(grid) - 1), 0].T.float().contiguous()

    def moments(x):
        x = x.double()
        return torch.cat([x, x**2, x**4], 1) / exact

    return Law(lambda x: quartic_energy(x, share), draw, moments)


LAWS = {"gaussian": _gaussian(), "banana": _banana(), "quartic": quartic_law()}
