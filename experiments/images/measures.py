"""How far samples are from data: their spread, and a distance in principal components."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.common.records import Row

COMPONENTS = 32


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
