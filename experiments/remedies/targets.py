"""Targets whose expectations are known, from which chains start."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

N_CHAINS = 64


class Target(NamedTuple):
    """A density with exact samples.

    Attributes:
        gradient: of the energy, ``(n, d)``.
        draw: maps n and a generator to n exact samples.
        figures: maps samples to figures by name, each of which is 1 for the target.
        step_sizes: the step sizes that are tried.
        duration: chains are looked at for so many units of time, after a quarter of it.
    """

    gradient: Callable[[Tensor], Tensor]
    draw: Callable[[int, torch.Generator], Tensor]
    figures: Callable[[Tensor], dict[str, float]]
    step_sizes: tuple[float, ...]
    duration: float


def isotropic(d: int = 512) -> Target:
    """A standard normal law."""
    return Target(
        lambda x: x,
        lambda n, rng: torch.randn(n, d, generator=rng),
        lambda x: {"variance": mean(x.square()), "fourth moment": mean(x.pow(4)) / 3},
        (0.02, 0.2),
        16.0,
    )


def gaussian(rotated: bool, d: int = 64, largest: float = 32.0) -> Target:
    """A Gaussian with precisions from 1 to ``largest``, along the axes or in a random basis."""
    precision = torch.logspace(0, math.log10(largest), d)
    basis = torch.eye(d)
    if rotated:
        basis = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(9))).Q
    hessian = basis * precision @ basis.T

    def figures(x: Tensor) -> dict[str, float]:
        ratio = (x @ basis).square().mean(0) * precision
        return {"soft quarter": mean(ratio[: d // 4]), "stiff quarter": mean(ratio[-d // 4 :])}

    return Target(
        lambda x: x @ hessian,
        lambda n, rng: torch.randn(n, d, generator=rng) / precision.sqrt() @ basis.T,
        figures,
        (0.003, 0.01),
        24.0,
    )


def mixture(d: int = 64) -> Target:
    """Independent entries, each a mixture of a wide and a narrow Gaussian."""
    means, precisions = torch.tensor([-1.5, 1.5]), torch.tensor([1.0, 4.0])

    def gradient(x: Tensor) -> Tensor:
        apart = x[..., None] - means
        log_density = precisions.log() / 2 - precisions * apart.square() / 2
        return (log_density.softmax(-1) * precisions * apart).sum(-1)

    def draw(n: int, rng: torch.Generator) -> Tensor:
        mode = torch.randint(2, (n, d), generator=rng)
        return means[mode] + torch.randn(n, d, generator=rng) / precisions.sqrt()[mode]

    def figures(x: Tensor) -> dict[str, float]:
        return {"second moment": mean(x.square()) / 2.875, "mean + 1": mean(x) + 1}

    return Target(gradient, draw, figures, (0.02, 0.1), 60.0)


def quartic(d: int = 64) -> Target:
    """Independent entries of energy x^4 / 4."""
    second = 2 * math.gamma(0.75) / math.gamma(0.25)

    def draw(n: int, rng: torch.Generator) -> Tensor:
        # By a table of the distribution function, as torch's gamma variables take no generator.
        grid = torch.linspace(-4, 4, 80_001, dtype=torch.float64)
        cdf = torch.exp(-grid.pow(4) / 4).cumsum(0)
        u = torch.rand(n, d, generator=rng, dtype=torch.float64) * cdf[-1]
        return grid[torch.searchsorted(cdf, u)].float()

    def figures(x: Tensor) -> dict[str, float]:
        return {"second moment": mean(x.square()) / second, "fourth moment": mean(x.pow(4))}

    return Target(lambda x: x**3, draw, figures, (0.02, 0.1), 24.0)


def funnel(d: int = 8) -> Target:
    """A mild funnel: v of standard deviation 1 (the first entry), the others N(0, exp(v))."""

    def gradient(x: Tensor) -> Tensor:
        v, rest = x[:, :1], x[:, 1:]
        scaled = rest * torch.exp(-v)
        of_v = v + (d - 1) / 2 - (rest * scaled).sum(1, keepdim=True) / 2
        return torch.cat([of_v, scaled], 1)

    def draw(n: int, rng: torch.Generator) -> Tensor:
        v = torch.randn(n, 1, generator=rng)
        return torch.cat([v, torch.randn(n, d - 1, generator=rng) * torch.exp(v / 2)], 1)

    def figures(x: Tensor) -> dict[str, float]:
        v = x[:, 0].clamp(-20, 20)
        scaled = (x[:, 1:].square() * torch.exp(-v)[:, None]).clamp(max=1e4)
        return {"mean of v + 1": mean(v) + 1, "scaled squares": mean(scaled)}

    return Target(gradient, draw, figures, (0.01, 0.04), 60.0)


TARGETS = {
    "isotropic": isotropic,
    "axes": lambda: gaussian(rotated=False),
    "random basis": lambda: gaussian(rotated=True),
    "mixture": mixture,
    "quartic": quartic,
    "funnel": funnel,
}


def mean(values: Tensor) -> float:
    return float(values.double().mean())
