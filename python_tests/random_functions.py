"""Compressors that are functions with random numbers of their own, right and wrong ones."""

import torch

import effebm_ext as eff


class Dithered:
    """Rounds the entries of a row at random to ``levels`` multiples of its norm over ``levels``, so
    that their mean stays (QSGD, Alistarh et al., arXiv 1610.02132). The numbers come from a
    generator of its own."""

    def __init__(self, levels=1, seed=0):
        self.levels, self.generator = levels, torch.Generator().manual_seed(seed)

    def __call__(self, g):
        norm = g.norm(dim=1, keepdim=True)
        uniforms = torch.rand(g.shape, dtype=g.dtype, generator=self.generator)
        steps = (self.levels * g.abs() / norm + uniforms).floor()
        return torch.where(norm > 0, norm * g.sign() * steps / self.levels, 0)


def the_same_mask_at_every_call(g):
    generator = torch.Generator().manual_seed(0)
    return g * 3 * (torch.rand(g.shape, generator=generator) < 1 / 3)


def numbers_by_the_gradient(g):
    """Rounds by digits of the gradient itself, a function of the state."""
    return g.sign() * torch.where((g.abs() * 1000).frac() < 0.5, 0.0, 2.0)


def by_the_batch(g):
    """The drift of a chain depends on the gradient of its neighbour."""
    pairs = g.view(-1, 2, g.shape[1])
    return (pairs * pairs.flip(1).norm(dim=2, keepdim=True) / 1.7).view_as(g)


class MasksInTurn:
    """Keeps one entry after the other, each at its call: independent of the chains, not fresh."""

    calls = 0

    def __call__(self, g):
        self.calls += 1
        mask = torch.zeros_like(g)
        mask[:, self.calls % g.shape[1]] = g.shape[1]
        return g * mask


class NumbersOfTheChain:
    """Draws from the key of the chains what the step to the new state has drawn."""

    calls = -1  # the first call is that of init

    def __init__(self, key):
        self.key = key

    def __call__(self, g):
        z = torch.zeros_like(g)
        if self.calls >= 0:
            eff.langevin_step_(z, torch.zeros_like(g), 1.0, rng=self.key.at(self.calls))
        self.calls += 1
        return g + 2 * z


class Momentum:
    """Remembers gradients that it has seen."""

    mean = 0.0

    def __call__(self, g):
        self.mean = 0.8 * self.mean + 0.2 * g
        return self.mean.clone()


def made(compressor, key):
    """A compressor as it is, or a new one of its class, which has drawn nothing yet."""
    if compressor is NumbersOfTheChain:
        return compressor(key)
    return compressor() if isinstance(compressor, type) else compressor
