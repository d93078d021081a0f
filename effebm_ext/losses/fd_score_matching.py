"""Score matching by finite differences (arXiv 2007.03317): forward passes, no graph through x.

What they approximate is in :mod:`effebm_ext.losses.score_matching`, with what ``scaled``, ``rng``
and ``energy_kwargs`` mean. The source has FD-SSM as ``scaled=False`` gives it, the others as
``scaled=True`` does.

**epsilon** is the norm, over a whole row, of the step v, which is uniform on that sphere. The
losses err by O(epsilon^2), and by rounding: relatively about ``eps * |E| / |E+ + E- - 2 E|`` in a
second difference, ``eps * |E| / |E+ - E-|`` in a first, with eps of the dtype that the network
returns; what layers within it round comes on top. Differences are taken in float32 or wider. A
RuntimeWarning tells once of every calling line where the estimate exceeds a tenth. For data of
about unit scale, a curvature of one along v and energies of about 10:

========  ============  ===========================================
dtype     epsilon       rounding of the second difference
========  ============  ===========================================
float64   0.001 to 0.1  2e-9 at 0.001, 2e-13 at 0.1
float32   0.1 to 1      1e-2 at 0.01, 1e-4 at 0.1, 1e-6 at 1
bfloat16  none          8 at 0.1: let the last layer return float32
========  ============  ===========================================

x should be float32 or float64 even for a network of 16 bits, which rounds it itself; products in
TF32 have eleven bits: leave them off. The network must be one function of its rows throughout a
loss: no dropout, no batch statistics; spectral normalisation in eval mode, or ``concatenated``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from effebm_ext.energies import per_chain
from effebm_ext.losses.finite_differences import evaluate, warn_if_imprecise
from effebm_ext.losses.score_matching import (
    Kwargs,
    Network,
    ScoreMatchingLoss,
    check_positive,
    denoising_scales,
    sum_of_terms,
    widened,
)
from effebm_ext.ops.checks import row_size
from effebm_ext.ops.perturb import perturbed_pair
from effebm_ext.rng import Rng


def fd_ssm(
    energy: Network,
    x: Tensor,
    epsilon: float = 0.1,
    *,
    rng: Rng = None,
    energy_kwargs: Kwargs = None,
    scaled: bool = True,
    concatenated: bool = True,
) -> ScoreMatchingLoss:
    """:func:`effebm_ext.losses.ssm` by finite differences:
    ``d / epsilon^2 * mean[(L+ - L-)^2 / 8 + L+ + L- - 2 L]``, ``L+- = L(x +- v)``,
    ``|v| = epsilon``. Equal to it for quadratic energies, whatever epsilon.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``.
        x: data ``(n, *event)``; no gradient flows through it.
        epsilon: see the module.
        rng, energy_kwargs, scaled: see the module.
        concatenated: one forward pass of 3 n rows; else three of n rows, each made again in the
            backward pass, for a third of the memory. Equal up to rounding.

    Raises:
        ValueError: epsilon is not positive, or the energy returns another shape.
    """
    check_positive("epsilon", epsilon)
    x = x.detach()
    parts = torch.cat([perturbed_pair(x, epsilon, rng=rng).x, x[None]])
    energies, dtype = _energies(energy, parts, energy_kwargs, concatenated)
    plus, minus, middle = energies
    second = (plus - middle) + (minus - middle)
    warn_if_imprecise("energies", middle, second, epsilon, dtype)
    factor = _source_scale(x, scaled) / epsilon**2
    return sum_of_terms((plus - minus).square() / 8, -second, factor)


def fd_ssm_vr(
    score: Network,
    x: Tensor,
    epsilon: float = 0.1,
    *,
    rng: Rng = None,
    energy_kwargs: Kwargs = None,
    scaled: bool = True,
    concatenated: bool = True,
) -> ScoreMatchingLoss:
    """:func:`effebm_ext.losses.ssm_vr` by finite differences, of a score network:
    ``mean[|s+ + s-|^2 / 8 + d / (2 epsilon^2) (s+ - s-).v]``, ``s+- = s(x +- v)``,
    ``|v| = epsilon``. Equal to it for linear scores, whatever epsilon.

    Args:
        score: maps ``(n, *event)`` to the same shape.
        x, epsilon, rng, energy_kwargs, scaled: as of :func:`fd_ssm`.
        concatenated: one forward pass of 2 n rows; else two, as of :func:`fd_ssm`.

    Raises:
        ValueError: epsilon is not positive, or the score returns another shape.
    """
    check_positive("epsilon", epsilon)
    pair = perturbed_pair(x.detach(), epsilon, rng=rng).x
    scores = evaluate(score, pair, energy_kwargs, concatenated=concatenated)
    if scores.shape != pair.shape:
        raise ValueError(
            f"score: expected the shape of x, {tuple(x.shape)}, got {tuple(scores.shape[1:])}"
        )
    plus, minus = widened(scores).reshape(2, len(x), -1)
    forward, backward = widened(pair).reshape(2, len(x), -1)
    v = (forward - backward) / 2
    slope = ((plus - minus) * v).sum(1)
    size = plus.square().sum(1).sqrt() * epsilon / row_size(x) ** 0.5
    warn_if_imprecise("scores along v", size, slope, epsilon, scores.dtype)
    d = row_size(x)
    return sum_of_terms(
        (plus + minus).square().sum(1) / 8, d / (2 * epsilon**2) * slope, 1.0 if scaled else 1 / d
    )


def fd_dsm(
    energy: Network,
    x: Tensor,
    sigma: float | Tensor,
    epsilon: float = 0.1,
    *,
    base_sigma: float | None = None,
    rng: Rng = None,
    energy_kwargs: Kwargs = None,
    scaled: bool = True,
    concatenated: bool = True,
) -> ScoreMatchingLoss:
    """:func:`effebm_ext.losses.dsm` by finite differences: of noisy data ``y = x + sigma * xi``,
    ``d / (2 epsilon^2) * mean[(sigma^2 (L+ - L-) / 2 + sigma xi.v)^2]``, ``L+- = L(y +- v)``,
    ``|v| = epsilon``. (The source writes n for a v of norm ``epsilon sqrt(d)``.)

    With a ``base_sigma``, several scales:
    ``d / epsilon^2 * mean[((L+ - L-) / 2 + (y - x).v / base_sigma^2)^2 / sigma^2]``.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``.
        x: data ``(n, *event)``; no gradient flows through it.
        sigma: > 0, a number or one per row ``(n,)``.
        epsilon, rng, energy_kwargs, scaled: as of :func:`fd_ssm`.
        base_sigma: > 0; None: of every row its own sigma.
        concatenated: one forward pass of 2 n rows; else two, as of :func:`fd_ssm`.

    Raises:
        ValueError: epsilon, or a sigma that is a number, is not positive; or the energy returns
            another shape.
    """
    check_positive("epsilon", epsilon)
    variance, weight = denoising_scales(sigma, base_sigma)
    pair = perturbed_pair(x.detach(), epsilon, noise_std=sigma, rng=rng)
    energies, dtype = _energies(energy, pair.x, energy_kwargs, concatenated)
    plus, minus = energies
    warn_if_imprecise("energies", plus, plus - minus, epsilon, dtype)
    residual = (minus - plus) / 2 + pair.noise_dot / variance
    loss = (weight * residual.square()).mean() * (_source_scale(x, scaled) / epsilon**2)
    return ScoreMatchingLoss(loss, {})


def _energies(
    energy: Network, parts: Tensor, energy_kwargs: Kwargs, concatenated: bool
) -> tuple[Tensor, torch.dtype]:
    """Of ``(m, n, *event)``, as ``(m, n)`` in float32 or wider, and their dtype before."""
    values = evaluate(energy, parts, energy_kwargs, concatenated=concatenated)
    rows = parts.shape[0] * parts.shape[1]
    flat = per_chain(values.flatten(0, 1), rows)
    return widened(flat).reshape(parts.shape[:2]), values.dtype


def _source_scale(x: Tensor, scaled: bool) -> int:
    """Steps of norm epsilon in d dimensions see a d-th of every square."""
    return row_size(x) if scaled else 1
