"""The variances of chains on a Gaussian whose compressor is linear in the mean.

Such a compressor has ``E[C(u)] = a u`` and ``E[C(u)^2] = b u^2`` for every entry u, and its draws
do not depend on the state. So the second moments of x and of the residual obey linear equations,
whose solution is exact for every number of entries and every step size:

    lambda Var(x) / T = (1 - residual y) / (strength (1 - noise y)),        y = gamma lambda / 4,

with strength, noise and residual from a and b. Without compression they are 1, 1 and 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from effebm_ext.ops.natural import NaturalCompression
from effebm_ext.ops.random_k import RandomK


class Linear(NamedTuple):
    """The numbers of the formula above."""

    strength: float = 1.0
    noise: float = 1.0
    residual: float = 0.0

    def variance(self, step_size: float, curvature: float) -> float:
        """Returns ``lambda Var(x) / T``; infinite: the chain diverges."""
        y = step_size * curvature / 4
        if self.noise * y >= 1:
            return math.inf
        return (1 - self.residual * y) / (self.strength * (1 - self.noise * y))

    def largest_step_size(self, curvature: float) -> float:
        """Returns the step size from which on the chain diverges."""
        return 4 / (self.noise * curvature)


def random_k(compressor: RandomK, dim: int, error_feedback: bool) -> Linear:
    """Random-k keeps an entry with the probability ``p = k / dim``, k at least 1; it takes feedback
    only if it is biased."""
    p = compressor.entries(dim) / dim
    if error_feedback:
        return Linear(noise=2 / p - 1)
    return Linear(noise=1 / p) if compressor.unbiased else Linear(strength=p)


def natural(compressor: NaturalCompression, std: float, error_feedback: bool) -> Linear:
    """Natural compression has ``a = 1`` and ``b = 1 + w``, where w is that of a normal gradient
    with the standard deviation ``std``. It changes little with std, so this is nearly exact."""
    w = relative_error(compressor.mantissa_bits, std)
    if error_feedback:
        return Linear(noise=(1 + 3 * w) / (1 - w), residual=4 * w / (1 - w))
    return Linear(noise=1 + w)


def relative_error(mantissa_bits: int, std: float) -> float:
    """Returns ``E[(C(u) - u)^2] / E[u^2]`` of natural compression for a normal u: the mean of
    ``r (s - r)``, with s the distance of the two neighbours and r that to the lower one."""
    u = std * (torch.arange(40_000, dtype=torch.float64) + 0.5) / 5000
    weight = (-(u / std).square() / 2).softmax(0)
    spacing = torch.exp2(u.log2().floor() - mantissa_bits)
    r = u.remainder(spacing)
    return float(weight @ (r * (spacing - r)) / (weight @ u.square()))
