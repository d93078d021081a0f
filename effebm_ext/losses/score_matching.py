"""Score matching, exact, sliced and denoising: what the finite differences of
:mod:`effebm_ext.losses.fd_score_matching` approximate.

The score is ``s = grad L`` of the log density ``L = -E``, up to a constant. All but the denoising
loss estimate ``J = E_data[|s|^2 / 2 + tr(grad s)]``, the Fisher divergence to the data up to a
constant. They take a score and differentiate it: ``effebm_ext.energies.score_of`` makes that of an
energy.

Common to all: ``scaled=False`` divides by d, the elements of a row, so that the size of the loss
does not grow with d. ``energy_kwargs``, such as labels, go to the network. ``rng`` is a Key, which
gives the same draw again, a torch.Generator, or None; with equal keys a loss and its
finite-difference form share their noise and directions. Under ``torch.no_grad()`` the losses are
values for validation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from effebm_ext.ops.checks import compute_dtype, row_size
from effebm_ext.ops.langevin_step import langevin_step
from effebm_ext.ops.perturb import perturbed_pair
from effebm_ext.rng import Rng

Network = Callable[..., Tensor]
Kwargs = Mapping[str, Any] | None


class ScoreMatchingLoss(NamedTuple):
    """``loss``: to be minimised, a scalar. ``terms``: what it is the sum of, scalars by name
    without a graph: ``score_norm`` (of ``|s|^2 / 2``) and ``trace``; a denoising loss has none."""

    loss: Tensor
    terms: dict[str, Tensor]


def sm(
    score: Network, x: Tensor, *, energy_kwargs: Kwargs = None, scaled: bool = True
) -> ScoreMatchingLoss:
    """``mean[|s|^2 / 2 + tr(grad s)]``, with the exact trace by d backward passes: for small d
    (Hyvarinen 2005).

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
    """Sliced: ``mean[(v.s)^2 / 2 + v.(grad s) v]`` with v uniform on the sphere of radius sqrt(d),
    one direction per row (arXiv 1905.07088).

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
    """Sliced with less variance: ``mean[|s|^2 / 2 + v.(grad s) v]`` (arXiv 1905.07088).

    Arguments as of :func:`ssm`.
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
    """Denoising: of noisy data ``y = x + sigma * xi``, ``mean |sigma^2 s(y) + sigma xi|^2 / 2``,
    least for the score of the noisy density (Vincent 2011).

    With a ``base_sigma`` several scales teach one density: ``mean |s(y) + (y - x) / base_sigma^2|^2
    / sigma^2`` (multiscale denoising, arXiv 1910.07762). Where sigma equals base_sigma this is the
    loss of one scale times ``2 / sigma^6``.

    Args:
        score: maps ``(n, *event)`` to the same shape.
        x: data ``(n, *event)``.
        sigma: > 0, a number or one per row ``(n,)``.
        base_sigma: > 0; None: of every row its own sigma.
        rng, energy_kwargs, scaled: see the module.

    Raises:
        ValueError: sigma or base_sigma is a number that is not positive.
    """
    variance, weight = denoising_scales(sigma, base_sigma)
    x = x.detach()
    noisy = langevin_step(x, torch.zeros_like(x), 0.0, noise_std=sigma, rng=rng)
    s = widened(score(noisy, **(energy_kwargs or {}))).reshape(len(x), -1)
    noise = (noisy.to(s.dtype) - x.to(s.dtype)).reshape(len(x), -1)
    residual = s + noise / torch.as_tensor(variance, dtype=s.dtype, device=s.device).reshape(-1, 1)
    loss = _factor(x, scaled) * (weight * residual.square().sum(1)).mean()
    return ScoreMatchingLoss(loss, {})


def denoising_scales(
    sigma: float | Tensor, base_sigma: float | None
) -> tuple[float | Tensor, float | Tensor]:
    """Variance that the score is to take off, and weight of the squared error: those of
    :func:`dsm`, with one scale or several."""
    for name, value in (("sigma", sigma), ("base_sigma", base_sigma)):
        if isinstance(value, (int, float)):
            check_positive(name, value)
    if base_sigma is None:
        return sigma**2, sigma**4 / 2
    return base_sigma**2, sigma**-2


def sum_of_terms(score_norm: Tensor, trace: Tensor, factor: float) -> ScoreMatchingLoss:
    """Of ``(n,)`` each, before the mean and the factor."""
    norm, curvature = factor * score_norm.mean(), factor * trace.mean()
    terms = {"score_norm": norm.detach(), "trace": curvature.detach()}
    return ScoreMatchingLoss(norm + curvature, terms)


def widened(values: Tensor) -> Tensor:
    """In float32, or float64."""
    return values.to(compute_dtype(values.dtype))


def check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name}: expected a finite number > 0, got {value}")


def _factor(x: Tensor, scaled: bool) -> float:
    return 1.0 if scaled else 1 / row_size(x)


def _score_at(score: Network, x: Tensor, energy_kwargs: Kwargs) -> tuple[Tensor, Tensor]:
    """The data as a leaf, and the score there ``(n, d)``."""
    leaf = x.detach().requires_grad_()
    return leaf, widened(score(leaf, **(energy_kwargs or {}))).reshape(len(x), -1)


def _sliced(
    score: Network, x: Tensor, rng: Rng, energy_kwargs: Kwargs
) -> tuple[Tensor, Tensor, Tensor]:
    """``v.s``, ``v.(grad s) v`` and s."""
    radius = math.sqrt(row_size(x))
    with torch.enable_grad():
        leaf, s = _score_at(score, x, energy_kwargs)
        v = perturbed_pair(torch.zeros_like(x), radius, rng=rng).x[0].to(s.dtype).reshape(s.shape)
        along = (s * v).sum(1)
        gradient = _gradient(along, leaf)
    return along, (gradient * v).sum(1), s


def _gradient(values: Tensor, x: Tensor) -> Tensor:
    """Of each of ``(n,)`` at its own row of x, ``(n, d)``."""
    (gradient,) = torch.autograd.grad(values.sum(), x, create_graph=True, materialize_grads=True)
    return widened(gradient).reshape(len(x), -1)
