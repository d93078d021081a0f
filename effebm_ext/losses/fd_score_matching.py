"""Score matching by finite differences (arXiv 2007.03317): forward passes, no graph through x.

:mod:`effebm_ext.losses.score_matching` has the losses that these approximate, and says what
``scaled``, ``rng`` and ``energy_kwargs`` mean. The source has FD-SSM with ``scaled=False`` and the
others with ``scaled=True``.

**fd_ssm and fd_dsm take an energy, fd_ssm_vr takes a score.** An energy in the place of a score, or
the reverse, is refused by its shape. This is impossible if a row has one element and both are
``(n, 1)``, or ``(n,)``.

**epsilon** is the norm, over a whole row, of the step v, which is uniform on this sphere. The
losses have an error of O(epsilon^2) and a rounding error: relatively about ``eps * |E| / |E+ + E- -
2 E|`` in a second difference and ``eps * |E| / |E+ - E-|`` in a first difference, with eps of the
dtype that the network returns; the rounding in layers of the network is added. Differences are
taken in float32 or wider. A RuntimeWarning is given, once for every calling line, if the estimate
exceeds a tenth. For data of about unit scale, a curvature of one along v and energies of about 10:

========  ============  ===========================================
dtype     epsilon       rounding of the second difference
========  ============  ===========================================
float64   0.001 to 0.1  2e-9 at 0.001, 2e-13 at 0.1
float32   0.1 to 1      1e-2 at 0.01, 1e-4 at 0.1, 1e-6 at 1
bfloat16  none          8 at 0.1: let the last layer return float32
========  ============  ===========================================

x should be float32 or float64 even for a network of 16 bits, which rounds it itself. Leave TF32
off, whose products have eleven bits. The network must be one function of its rows throughout a
loss: no dropout, no batch statistics; spectral normalisation in eval mode, or ``concatenated``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from effebm_ext.losses.arguments import (
    Kwargs,
    Network,
    as_score,
    check_data,
    positive,
    widened,
)
from effebm_ext.losses.finite_differences import evaluate, warn_if_imprecise
from effebm_ext.losses.score_matching import ScoreMatchingLoss, denoising_scales, sum_of_terms
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
    """Approximates :func:`effebm_ext.losses.ssm` by finite differences:
    ``d / epsilon^2 * mean[(L+ - L-)^2 / 8 + L+ + L- - 2 L]``, ``L+- = L(x +- v)``,
    ``|v| = epsilon``. For quadratic energies the two are equal, for every epsilon.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``.
        x: data ``(n, *event)``; no gradient flows through it.
        epsilon: see the module.
        rng, energy_kwargs, scaled: see the module.
        concatenated: one forward pass of 3 n rows; else three of n rows, each made again in the
            backward pass, for a third of the memory. Equal up to rounding.

    Raises:
        TypeError: epsilon is no number; x or the energies are no floating-point tensors.
        ValueError: epsilon is not positive; x is empty; the energy returns another shape.
    """
    check_data(x)
    epsilon = positive(epsilon, "epsilon")
    x = x.detach()
    parts = torch.cat([perturbed_pair(x, epsilon, rng=rng).x, x[None]])
    energies, dtype = _energies(energy, parts, energy_kwargs, concatenated, "fd_ssm_vr")
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
    """Approximates :func:`effebm_ext.losses.ssm_vr` of a score network by finite differences:
    ``mean[|s+ + s-|^2 / 8 + d / (2 epsilon^2) (s+ - s-).v]``, ``s+- = s(x +- v)``,
    ``|v| = epsilon``. For linear scores the two are equal, for every epsilon.

    Args:
        score: maps ``(n, *event)`` to the same shape.
        x, epsilon, rng, energy_kwargs, scaled: as in :func:`fd_ssm`.
        concatenated: one forward pass of 2 n rows; else two, as in :func:`fd_ssm`.

    Raises:
        TypeError: epsilon is no number; x or the scores are no floating-point tensors.
        ValueError: epsilon is not positive; x is empty; the score returns another shape.
    """
    check_data(x)
    epsilon = positive(epsilon, "epsilon")
    pair = perturbed_pair(x.detach(), epsilon, rng=rng).x
    scores = evaluate(score, pair, "score", energy_kwargs, concatenated=concatenated)
    plus, minus = (as_score(values, x) for values in scores)
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
    """Approximates :func:`effebm_ext.losses.dsm` by finite differences, with noisy data
    ``y = x + sigma * xi``:
    ``d / (2 epsilon^2) * mean[(sigma^2 (L+ - L-) / 2 + sigma xi.v)^2]``, ``L+- = L(y +- v)``,
    ``|v| = epsilon``. (The source writes n for a v of norm ``epsilon sqrt(d)``.)

    A ``base_sigma`` allows several scales:
    ``d / epsilon^2 * mean[((L+ - L-) / 2 + (y - x).v / base_sigma^2)^2 / sigma^2]``.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``.
        x: data ``(n, *event)``; no gradient flows through it.
        sigma, base_sigma: as in :func:`effebm_ext.losses.dsm`.
        epsilon, rng, energy_kwargs, scaled: as in :func:`fd_ssm`.
        concatenated: one forward pass of 2 n rows; else two, as in :func:`fd_ssm`.

    Raises:
        TypeError: epsilon or a sigma is no number; x or the energies are no floating-point tensors.
        ValueError: epsilon or a sigma is not positive; x is empty; the energy returns another
            shape.
    """
    check_data(x)
    epsilon = positive(epsilon, "epsilon")
    sigma, variance, weight = denoising_scales(sigma, base_sigma, x)
    pair = perturbed_pair(x.detach(), epsilon, noise_std=sigma, rng=rng)
    energies, dtype = _energies(energy, pair.x, energy_kwargs, concatenated, "dsm")
    plus, minus = energies
    warn_if_imprecise("energies", plus, plus - minus, epsilon, dtype)
    residual = (minus - plus) / 2 + pair.noise_dot / variance
    loss = (weight * residual.square()).mean() * (_source_scale(x, scaled) / epsilon**2)
    return ScoreMatchingLoss(loss, {})


def _energies(
    energy: Network, parts: Tensor, energy_kwargs: Kwargs, concatenated: bool, of_scores: str
) -> tuple[Tensor, torch.dtype]:
    """Returns energies ``(m, n)`` at ``parts`` ``(m, n, *event)``, in float32 or wider, and the
    dtype that they had before. ``of_scores`` names the loss that takes a score instead."""
    values = evaluate(energy, parts, "energy", energy_kwargs, concatenated=concatenated)
    m, n = parts.shape[:2]
    if values.shape not in ((m, n), (m, n, 1)):
        raise ValueError(
            f"energy: expected one value per row, shape ({n},) or ({n}, 1), "
            f"got {tuple(values.shape[1:])}. This loss takes an energy; {of_scores} takes a score"
        )
    return widened(values).reshape(m, n), values.dtype


def _source_scale(x: Tensor, scaled: bool) -> int:
    """Returns d if scaled, else 1: steps of norm epsilon see a d-th of every square."""
    return row_size(x) if scaled else 1
