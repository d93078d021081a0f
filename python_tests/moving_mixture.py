"""A mixture of Gaussians that moves, with its log Z, and walkers that start at its samples."""

import math

import torch

import effebm_ext as eff
from effebm_ext.chains.weighted import WeightedWalkers

KEY = eff.Key(11)
LOG_2PI = math.log(2 * math.pi)


class Mixture(torch.nn.Module):
    """E(x) = -log sum_i exp(-|x - a_i|^2 / (2 v) - z_i): Z = (2 pi v)^(d/2) sum_i exp(-z_i)."""

    def __init__(self, dim, dtype=torch.float32):
        super().__init__()
        self.dim, self.variance = dim, 1.0
        self.a = torch.nn.Parameter(torch.zeros(2, dim, dtype=dtype))
        self.z = torch.nn.Parameter(torch.zeros(2, dtype=dtype))
        self.move(0.0)

    @torch.no_grad()
    def move(self, time):
        """Modes that drift apart, become narrower and unequal, for ``time`` from 0 to 1."""
        self.a[:, 0] = torch.tensor([-1.0, 1.0]) * (0.2 + time)
        self.z[1] = 1.5 * time
        self.variance = 1 - 0.3 * time

    def forward(self, x):
        squares = (x[:, None] - self.a).square().sum(2) / (2 * self.variance)
        return -torch.logsumexp(-squares - self.z, 1)

    @property
    def log_z(self):
        return self.dim / 2 * (LOG_2PI + math.log(self.variance)) + float(
            torch.logsumexp(-self.z.detach(), 0)
        )

    def samples(self, n, seed):
        generator = torch.Generator().manual_seed(seed)
        mass = torch.softmax(-self.z.detach(), 0)
        i = torch.multinomial(mass, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.dim, generator=generator, dtype=self.a.dtype)
        return self.a.detach()[i] + math.sqrt(self.variance) * noise


def walkers_of(energy, n, sampler, *, seed=0, **options):
    """Of samples of the model as it is."""
    x0 = energy.samples(n, seed)
    log_density = -energy(x0).detach().double() - energy.log_z
    return WeightedWalkers(sampler, x0, log_density, rng=eff.Key(seed), **options)
