"""The variances that error feedback leaves under Top-k and Block-Sign, on a Gaussian.

Along an axis of curvature ``lambda_i`` a stationary chain with feedback has, exactly,

    lambda_i Var(x_i) = 1 + (gamma / 4) (2 E[u_i c_i] - E[c_i^2]),    u = grad E(x) + e, c = C(u)

at temperature 1 (docs/compression_bias.md has the proof). The functions here find the right side
from the law of u while the gradient hardly changes, with its first correction. Axes have equal
shares of the entries, in every block too. Curvatures are float64 ``(n,)`` and the results are
``lambda_i Var(x_i)``, float64 ``(n,)``. Other temperatures have the same results, as both
compressors commute with a change of units.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from effebm_ext.bias.plain import falling_root

# Two numbers without units, each from a simulation of the problem that defines it.
# For Brownian y, uniform on the line, whose integral A goes back to 0 at +-1: the integral of
# |y| - (rate of returns at y) over y, 0.546 +- 0.004.
_LOST_RETURNS = 0.546
# For z with dz = -ds / 2 + dW: the integral over z of exp(-z) E[sup over s of the integral of z
# from 0 to s, given z at 0], 10.4 +- 0.3.
_OVERFLOW = 10.4

_GRID = (torch.arange(400, dtype=torch.float64) + 0.5) / 50  # magnitudes of a normal variable
_WEIGHT = (-_GRID.square() / 2).softmax(0)
_ROUNDS = 5000


def topk_variances(curvatures: Tensor, ratio: float, step_size: float) -> Tensor:
    """Returns the variances under Top-k of a share ``ratio``, for a step size below
    :func:`topk_largest_step_size`.

    An entry waits until its gradients add up to a threshold t, common to all entries. A gradient
    ``g_i`` of law ``N(0, lambda_i v_i)``, ``v_i = lambda_i Var(x_i)``, is served at the rate
    ``|g| / (t + |g| / 2)``, at most 1, and then moves x by t to t + |g|. Gradients near zero change
    their sign before t is reached, which slows the mean rate by ``1 + delta_i``, where ``delta_i``
    is ``0.546 (lambda_i^2 gamma t)^(2/3) / (2 lambda_i v_i)``. k of d entries are served in a step.
    To leading order this is ``1 + gamma d / (2 pi k) sqrt(lambda_i) mean(sqrt(lambda))``.
    """
    v, t = torch.ones_like(curvatures), _first_threshold(curvatures, ratio)
    for _ in range(_ROUNDS):
        lost = _LOST_RETURNS * (curvatures.square() * step_size * t) ** (2 / 3)
        rate, square = _served(curvatures * v, t, 1 + lost / (2 * curvatures * v))
        v_before, v = v, 1 + step_size / 4 * square
        error = max(float((v / v_before - 1).abs().max()), abs(rate / ratio - 1) * (ratio < 1))
        if error < 1e-10:
            break
        t *= rate / ratio
    return v


def topk_largest_step_size(curvatures: Tensor, ratio: float) -> float:
    """Returns the step size from which on the variances of :func:`topk_variances` have no bound:
    4 over the growth of the variances per ``gamma / 4``, which is ``2 pi k / (d mean(lambda))`` for
    k far below d and ``4 / max(lambda)`` for k = d."""
    v, t, growth = torch.ones_like(curvatures), _first_threshold(curvatures, ratio), 0.0
    for _ in range(_ROUNDS):
        rate, square = _served(curvatures * v, t, torch.ones_like(v))
        before, growth = growth, float(square.max())
        if abs(growth / before - 1 if before else 1) + abs(rate / ratio - 1) * (ratio < 1) < 1e-10:
            break
        v = (square / growth).clamp(min=1e-12)
        t *= rate / ratio
    return 4 / growth


def _first_threshold(curvatures: Tensor, ratio: float) -> float:
    return float(curvatures.sqrt().mean()) / ratio if ratio < 1 else 0.0


def _served(variances: Tensor, t: float, slower: Tensor) -> tuple[float, Tensor]:
    """Returns the mean rate at which entries are served, and E[c_i^2], for gradients of these
    variances that have to add up to t."""
    g = variances.sqrt()[:, None] * _GRID
    slowed = g / slower[:, None]
    rate = (slowed / (t + slowed / 2)).clamp(max=1) @ _WEIGHT
    return float(rate.mean()), torch.maximum(g * g, slowed * t + g * g / 2) @ _WEIGHT


def block_sign_variances(curvatures: Tensor, block_size: int, step_size: float) -> Tensor:
    """Returns the variances under Block-Sign in blocks of ``block_size`` entries, 2 or more.

    All entries of a block move by its mean magnitude. One whose gradient is smaller is served in
    full and leaves ``gamma lambda_i / 4``, the bias of the step size; the residual of a larger one
    grows. There are two limits. For what lies between, the inverse cubes of their means are added,
    and the shares of the axes are averaged with these as weights:

    - **large blocks**: the magnitude is a constant mu, and ``m_i = mu / sqrt(lambda_i)``. Beyond
      it, the residual is the content of a queue that the chain fills, which leaves
      ``10.4 phi(m_i) / m_i^3`` with the normal density phi. mu is such that
      ``gamma mu^2 / 4`` is the mean of what is left.
    - **small steps**: the magnitude is the largest gradient of the block, so that the block leaves
      ``gamma / 4 b E[max_i g_i^2]``, more than ``gamma / 4 sum_i lambda_i``, and its largest entry
      leaves the difference.
    """
    parts = torch.stack(
        [
            _large_block(curvatures, step_size),
            step_size / 4 * _largest_entry(curvatures, block_size),
        ]
    )
    tiny = torch.finfo(torch.float64).tiny
    means = parts.mean(1).clamp(min=tiny)
    smaller = means.min() / means
    weights = smaller**3 / (smaller**3).sum()
    between = means.min() * (smaller**3).sum() ** (-1 / 3)
    return 1 + step_size * curvatures / 4 + between * (weights / means) @ parts


def _large_block(curvatures: Tensor, step_size: float) -> Tensor:
    roots = curvatures.sqrt()

    def beyond(mu: float) -> Tensor:
        m = mu / roots
        return _OVERFLOW * _density(m) / m**3

    def excess(mu: float) -> float:
        return float((beyond(mu) + step_size * curvatures / 4).mean()) - step_size * mu**2 / 4

    return beyond(falling_root(excess, 40 * float(roots.max())))


def _largest_entry(curvatures: Tensor, block_size: int) -> Tensor:
    """Returns, per curvature, the mean of ``b max_j g_j^2 - sum_j g_j^2`` where entry i is the
    largest of its block, and of 0 elsewhere."""
    roots = curvatures.sqrt()
    width = 9 * float(roots.max()) / 4000
    m = (torch.arange(4000, dtype=torch.float64) + 0.5) * width
    z = m / roots[:, None]
    below = torch.special.erf(z / math.sqrt(2)).clamp(min=1e-300)
    share = 2 * _density(z)
    others = (block_size * below.log().mean(0)).exp() / below
    squares = curvatures[:, None] * (1 - z * share / below)
    left = (block_size - 1) * m**2 - block_size * squares.mean(0) + squares
    return (share / roots[:, None] * others * left).sum(1) * width


def _density(m: Tensor) -> Tensor:
    return torch.exp(-m.square() / 2) / math.sqrt(2 * math.pi)
