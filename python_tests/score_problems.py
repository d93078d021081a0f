"""Energies whose scores and traces are known, for the tests of score matching; all float64."""

import torch
from helpers import normal
from torch import Tensor, nn

from effebm_ext.ops.perturb import perturbed_pair

DIM = 5


class Gaussian:
    """E(x) = x.Px / 2 + b.x."""

    def __init__(self):
        root = normal(DIM, DIM, seed=1, dtype=torch.float64)
        self.precision = root @ root.T / DIM + torch.eye(DIM, dtype=torch.float64)
        self.linear = normal(DIM, seed=2, dtype=torch.float64)

    def __call__(self, x):
        return ((x @ self.precision) * x).sum(1) / 2 + x @ self.linear

    def score(self, x):
        return -x @ self.precision - self.linear

    def hessian(self, x):
        """Of L."""
        return -self.precision.expand(len(x), DIM, DIM)


class Mixture:
    """Of three Gaussians of unit variance with weights 1, 2, 3."""

    def __init__(self):
        self.means = 1.5 * normal(3, DIM, seed=3, dtype=torch.float64)
        self.log_weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).log()

    def _terms(self, x):
        return self.log_weights - (x[:, None] - self.means).square().sum(2) / 2

    def __call__(self, x):
        return -torch.logsumexp(self._terms(x), 1)

    def score(self, x):
        share = self._terms(x).softmax(1)
        return (share[..., None] * (self.means - x[:, None])).sum(1)

    def hessian(self, x):
        """Of L: the covariance of the means around x, minus one."""
        share, away = self._terms(x).softmax(1), self.means - x[:, None]
        second = torch.einsum("nk,nki,nkj->nij", share, away, away)
        s = self.score(x)
        return second - s[:, :, None] * s[:, None, :] - torch.eye(DIM, dtype=x.dtype)


class Network(nn.Module):
    """A smooth energy with parameters, of data and labels."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(
                nn.Linear(DIM, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3)
            ).double()

    def forward(self, x, y=None):
        values = self.net(x)
        return values[:, 0] if y is None else values.gather(1, y[:, None])[:, 0]


def data(n=40, seed=0) -> Tensor:
    return normal(n, DIM, seed=seed, dtype=torch.float64)


def directions(x, rng) -> Tensor:
    """The step v of norm one that losses by finite differences take with this key."""
    pair = perturbed_pair(torch.zeros_like(x), 1.0, rng=rng).x
    return pair[0]


def along(hessian, v) -> Tensor:
    """``v.Hv`` for each row."""
    return torch.einsum("ni,nij,nj->n", v, hessian, v)
