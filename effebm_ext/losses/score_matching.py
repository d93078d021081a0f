"""Score matching, exact, sliced and denoising. The finite differences of
:mod:`effebm_ext.losses.fd_score_matching` approximate these losses.

The score is ``s = grad L`` of the log density ``L = -E``, which is known up to a constant. All but
the denoising loss estimate ``J = E_data[|s|^2 / 2 + tr(grad s)]``, the Fisher divergence to the
data up to a constant.

**Every loss of this module takes a score**, and differentiates it;
:func:`effebm_ext.energies.score_of` turns an energy into its score. An energy in the place of a
score is refused by its shape. This is impossible if a row has one element and both have one shape:
an energy that returns ``(n, 1)`` for x ``(n, 1)``, or ``(n,)`` for x ``(n,)``, is taken for a
score.

The losses share some arguments. ``scaled=False`` divides by d, the number of elements of a row, so
that the size of the loss does not grow with d. ``energy_kwargs``, such as labels, go to the
network. ``rng`` is a Key, which gives the same draw again, a torch.Generator, or None; with equal
keys a loss and its finite-difference form share their noise and directions. Scores of 16 bits, as
networks return them under autocast, are widened to float32 first. Under ``torch.no_grad()`` the
losses are values for validation.

All raise a TypeError for data or scores that are no floating-point tensors, and a ValueError for
data without rows or elements and for scores of another shape than x.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from effebm_ext.calls import evaluated
from effebm_ext.losses.arguments import (
    Kwargs,
    Network,
    as_score,
    check_data,
    positive,
    positive_per_row,
    widened,
)
from effebm_ext.ops.checks import row_size
from effebm_ext.ops.langevin_step import langevin_step
from effebm_ext.ops.perturb import perturbed_pair
from effebm_ext.rng import Rng
from effebm_ext.train_mode import warn_if_rows_are_coupled


class ScoreMatchingLoss(NamedTuple):
    """``loss`` is a scalar, to be minimised. ``terms`` holds its summands as scalars by name,
    without a graph: ``score_norm`` (of ``|s|^2 / 2``) and ``trace``; a denoising loss has none."""

    loss: Tensor
    terms: dict[str, Tensor]


def sm(
    score: Network, x: Tensor, *, energy_kwargs: Kwargs = None, scaled: bool = True
) -> ScoreMatchingLoss:
    """Returns ``mean[|s|^2 / 2 + tr(grad s)]`` (Hyvarinen 2005), with the exact trace by d backward
    passes, which suits small d.

    Args:
        score: maps ``(n, *event)`` to the same shape, differentiable.
        x: data ``(n, *event)``.
        energy_kwargs, scaled: see the module.
    """
    with torch.enable_grad():
        leaf, s = _score_at(score, x, energy_kwargs)
        columns = [_gradient(s[:, i], leaf)[:, i] for i in range(s.shape[1])]
    return sum_of_terms(s.square().sum(1) / 2, torch.stack(columns).sum(0), _factor(x, scaled))


def ssm(
    score: Network,
    x: Tensor,
    *,
    rng: Rng = None,
    energy_kwargs: Kwargs = None,
    scaled: bool = True,
) -> ScoreMatchingLoss:
    """Returns the sliced loss ``mean[(v.s)^2 / 2 + v.(grad s) v]`` with v uniform on the sphere of
    radius sqrt(d), one direction per row (arXiv 1905.07088).

    Args:
        score: maps ``(n, *event)`` to the same shape, differentiable.
        x: data ``(n, *event)``.
        rng, energy_kwargs, scaled: see the module.
    """
    along, trace, _ = _sliced(score, x, rng, energy_kwargs)
    return sum_of_terms(along.square() / 2, trace, _factor(x, scaled))


def ssm_vr(
    score: Network,
    x: Tensor,
    *,
    rng: Rng = None,
    energy_kwargs: Kwargs = None,
    scaled: bool = True,
) -> ScoreMatchingLoss:
    """Returns the sliced loss with less variance, ``mean[|s|^2 / 2 + v.(grad s) v]`` (arXiv
    1905.07088).

    It has the same arguments as :func:`ssm`.
    """
    _, trace, s = _sliced(score, x, rng, energy_kwargs)
    return sum_of_terms(s.square().sum(1) / 2, trace, _factor(x, scaled))


def dsm(
    score: Network,
    x: Tensor,
    sigma: float | Tensor,
    *,
    base_sigma: float | None = None,
    rng: Rng = None,
    energy_kwargs: Kwargs = None,
    scaled: bool = True,
) -> ScoreMatchingLoss:
    """Returns the denoising loss ``mean |sigma^2 s(y) + sigma xi|^2 / 2`` for noisy data
    ``y = x + sigma * xi``, which is least for the score of the noisy density (Vincent 2011).

    With a ``base_sigma`` several scales teach one density: ``mean |s(y) + (y - x) / base_sigma^2|^2
    / sigma^2`` (multiscale denoising, arXiv 1910.07762). If sigma equals base_sigma, this is the
    loss of one scale times ``2 / sigma^6``.

    Args:
        score: maps ``(n, *event)`` to the same shape.
        x: data ``(n, *event)``.
        sigma: > 0, a number, or a tensor ``()`` or ``(n,)`` for one per row. A tensor on the CPU is
            checked. A tensor on a GPU is not, and the loss is nan if an element is not > 0.
        base_sigma: > 0; with None every row has its own sigma.
        rng, energy_kwargs, scaled: see the module.

    Raises:
        TypeError, ValueError: see the module; sigma or base_sigma is no finite number > 0.
    """
    check_data(x)
    sigma, variance, weight = denoising_scales(sigma, base_sigma, x)
    x = x.detach()
    noisy = langevin_step(x, torch.zeros_like(x), 0.0, noise_std=sigma, rng=rng)
    s = as_score(evaluated(score, noisy, **(energy_kwargs or {})), x)
    noise = (noisy.to(s.dtype) - x.to(s.dtype)).reshape(len(x), -1)
    residual = s + noise / torch.as_tensor(variance, dtype=s.dtype, device=s.device).reshape(-1, 1)
    loss = _factor(x, scaled) * (weight * residual.square().sum(1)).mean()
    return ScoreMatchingLoss(loss, {})


def denoising_scales(
    sigma: float | Tensor, base_sigma: float | None, x: Tensor
) -> tuple[float | Tensor, float | Tensor, float | Tensor]:
    """Returns sigma, the variance that the score is to take off, and the weight of the squared
    error in :func:`dsm`, with one scale or several."""
    sigma = positive_per_row(sigma, "sigma", x)
    if base_sigma is None:
        return sigma, sigma**2, sigma**4 / 2
    return sigma, positive(base_sigma, "base_sigma") ** 2, sigma**-2


def sum_of_terms(score_norm: Tensor, trace: Tensor, factor: float) -> ScoreMatchingLoss:
    """Returns the loss of two terms ``(n,)``, whose means are scaled by the factor and added."""
    norm, curvature = factor * score_norm.mean(), factor * trace.mean()
    terms = {"score_norm": norm.detach(), "trace": curvature.detach()}
    return ScoreMatchingLoss(norm + curvature, terms)


def _factor(x: Tensor, scaled: bool) -> float:
    return 1.0 if scaled else 1 / row_size(x)


def _score_at(score: Network, x: Tensor, energy_kwargs: Kwargs) -> tuple[Tensor, Tensor]:
    """Returns the data as a leaf, and the score there ``(n, d)``."""
    check_data(x)
    warn_if_rows_are_coupled(score)
    leaf = x.detach().requires_grad_()
    return leaf, as_score(score(leaf, **(energy_kwargs or {})), x)


def _sliced(
    score: Network, x: Tensor, rng: Rng, energy_kwargs: Kwargs
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the products ``v.s`` and ``v.(grad s) v``, and s."""
    radius = math.sqrt(row_size(x))
    with torch.enable_grad():
        leaf, s = _score_at(score, x, energy_kwargs)
        v = perturbed_pair(torch.zeros_like(x), radius, rng=rng).x[0].to(s.dtype).reshape(s.shape)
        along = (s * v).sum(1)
        gradient = _gradient(along, leaf)
    return along, (gradient * v).sum(1), s


def _gradient(values: Tensor, x: Tensor) -> Tensor:
    """Returns the gradients ``(n, d)`` of values ``(n,)``, each with respect to its row of x."""
    (gradient,) = torch.autograd.grad(values.sum(), x, create_graph=True, materialize_grads=True)
    return widened(gradient).reshape(len(x), -1)
