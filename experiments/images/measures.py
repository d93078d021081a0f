"""How far samples are from data, by their spread and a distance in principal components, and how
well an energy takes noise off data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from effebm_ext.energies import score_of
from effebm_ext.losses.score_matching import dsm
from experiments.common.records import Row

COMPONENTS = 32
_IMAGES, _BATCH = 500, 50


def spread(samples: Tensor, data: Tensor) -> float:
    """Returns the standard deviation of all elements of the samples over that of the data."""
    return float(samples.std(correction=0) / data.std(correction=0))


class Components:
    """The leading principal components of data ``(n, *event)``."""

    def __init__(self, data: Tensor) -> None:
        flat = data.flatten(1).double()
        self._mean = flat.mean(0)
        covariance = (flat - self._mean).T.cov(correction=0)
        self._directions = torch.linalg.eigh(covariance).eigenvectors[:, -COMPONENTS:]

    def of(self, x: Tensor) -> Tensor:
        """Returns the components ``(n, COMPONENTS)`` of ``x`` ``(n, *event)``."""
        return (x.flatten(1).double() - self._mean) @ self._directions


def frechet(a: Tensor, b: Tensor) -> float:
    """Returns the squared Fréchet distance between Gaussians of the means and the covariances of
    two sets of components, ``|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2))`` (Dowson and Landau 1982).
    """
    covariances = [x.T.cov(correction=0) for x in (a, b)]
    roots = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.clamp(min=0).sqrt()
    traces = sum(float(c.trace()) for c in covariances)
    return float((a.mean(0) - b.mean(0)).square().sum()) + traces - 2 * float(roots.sum())


def measure(samples: Tensor, data: Tensor, held_out: Tensor) -> Row:
    """Returns the figures of samples beside data.

    Args:
        samples, data, held_out: ``(n, *event)`` each. The components are those of ``data``, and
            the distance is to ``held_out``. ``floor`` is the distance of as many data.
    """
    components = Components(data)
    n, rest = len(samples), components.of(held_out)
    finite = bool(samples.isfinite().all())
    return {
        "finite": finite,
        "spread": spread(samples, data),
        "distance": frechet(components.of(samples), rest) if finite else None,
        "floor": frechet(components.of(data[:n]), rest),
    }


def denoising_loss(energy: nn.Module, x: Tensor, sigma: float) -> tuple[float, float]:
    """Returns the mean denoising loss of the first 500 of the images ``x`` with noise of standard
    deviation ``sigma`` from a fixed seed, and its standard error."""
    score, generator = score_of(energy), torch.Generator().manual_seed(0)
    batches = x[:_IMAGES].split(_BATCH)
    losses = torch.tensor(
        [float(dsm(score, b, sigma, rng=generator).loss.detach()) for b in batches]
    )
    weights = torch.tensor([len(batch) for batch in batches], dtype=torch.float64)
    mean = float((weights * losses).sum() / weights.sum())
    error = float(losses.std()) / len(losses) ** 0.5 if len(losses) > 1 else 0.0
    return mean, error
