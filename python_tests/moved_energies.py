"""Energies whose parameters change while particles follow them."""

import torch
from helpers import normal
from torch import nn

from effebm_ext.chains.particle_moves import alpha_move, beta_move

F64 = torch.float64
MOVES = {"alpha": alpha_move, "beta": beta_move}


class Shifted(nn.Module):
    """E(x) = |x - mean|^2 / (2 width^2), that of a Gaussian."""

    def __init__(self, mean, width):
        super().__init__()
        self.mean = nn.Parameter(torch.as_tensor(mean, dtype=F64))
        self.width = width

    def forward(self, x):
        return (x - self.mean).square().sum(1) / (2 * self.width**2)


def white(n, d):
    """Points (n, d) of mean zero and of a covariance of exactly one."""
    x = normal(n, d, seed=5, dtype=F64)
    x = x - x.mean(0)
    root = torch.linalg.cholesky(x.T @ x / n)
    return torch.linalg.solve_triangular(root, x.T, upper=False).T


def step_along(energy, direction, size):
    with torch.no_grad():
        for p, d in zip(energy.parameters(), direction, strict=True):
            p += size * d


class Counting(nn.Module):
    """Evaluations change its buffer, on which its energy depends."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        return self.count.clone() * self.weight * x.square().sum(1)


def normalised(norm):
    torch.manual_seed(0)
    return nn.Sequential(norm(nn.Linear(2, 8)), nn.SiLU(), norm(nn.Linear(8, 1)), nn.Flatten(0))


def tied():
    first, second, last = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second, last)


MODULES = {
    "counting": Counting,
    "spectral norm": lambda: normalised(nn.utils.parametrizations.spectral_norm),
    "spectral norm by hooks": lambda: normalised(nn.utils.spectral_norm),
    "one layer twice": lambda: nn.Sequential(*[nn.Linear(2, 2)] * 2, nn.Linear(2, 1)),
    "tied": tied,
}
