"""Densities of energies with classes: ``p(x) = sum_y p(y) exp(-E(x, y)) / Z_y``.

Conditional training learns ``p(x | y)`` and leaves the constants Z_y free, so training does not set
the weights of the classes in the marginal ``sum_y exp(-E(x, y))``. Here the weights are the
frequencies p(y) of the labels. An energy without classes is the case of one class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from effebm_ext.evaluation.estimates import Estimate, error_of_mean


def negative_log_density(log_z: Sequence[Estimate], shares: Tensor, energies: Tensor) -> Tensor:
    """Returns ``-log sum_y p(y) exp(-E(x, y)) / Z_y``, float64 ``(n,)``.

    Args:
        log_z: the log Z_y of the K classes.
        shares: ``p(y)``, float64 ``(K,)``, with sum one; a class of share 0 does not count.
        energies: ``(n, K)``, the energies of every row with every label.
    """
    first, terms = _relative(log_z, shares, energies)
    return first - torch.logsumexp(terms, 1)


def mixture_cross_entropy(log_z: Sequence[Estimate], shares: Tensor, energies: Tensor) -> Estimate:
    """Estimates the mean of :func:`negative_log_density` over data, in nats per row.

    The error combines the error of the mean and, by the delta method, the error of every log Z_y
    times the mean probability ``p(y | x)`` of its class. The cross-entropy is concave in the log
    Z_y: if the log Z_y are too low on average, it is too low too; if they are too high, it is too
    high to first order.

    Raises:
        ValueError: energies are not ``(n, K)``, n >= 1, or not finite.
    """
    _check(log_z, energies)
    first, terms = _relative(log_z, shares, energies)
    values = -torch.logsumexp(terms, 1)
    weights = terms.softmax(1).mean(0)
    return Estimate(first + float(values.mean()), _error(values, log_z, weights))


def labelled_cross_entropy(log_z: Sequence[Estimate], energies: Tensor, labels: Tensor) -> Estimate:
    """Estimates ``mean E(x, y) + log Z_y`` over data with their labels, int64 ``(n,)``: the
    cross-entropy of x given y in nats per row, with the error of :func:`mixture_cross_entropy`.

    Raises:
        ValueError: as mixture_cross_entropy.
    """
    _check(log_z, energies)
    constants = torch.tensor([z.value for z in log_z], dtype=torch.float64, device=energies.device)
    values = energies.double().gather(1, labels[:, None])[:, 0] + constants[labels]
    weights = labels.bincount(minlength=len(log_z)) / len(labels)
    return Estimate(float(values.mean()), _error(values, log_z, weights))


def mean_over_classes(values: Sequence[Estimate], shares: Tensor) -> Estimate:
    """Returns ``sum_y p(y) value_y`` of independent estimates, with its error."""
    weights = shares.tolist()
    return Estimate(
        sum(w * v.value for w, v in zip(weights, values, strict=True)),
        math.hypot(*(w * v.error for w, v in zip(weights, values, strict=True) if w)),
    )


def _relative(log_z: Sequence[Estimate], shares: Tensor, energies: Tensor) -> tuple[float, Tensor]:
    """Returns ``log Z`` of the first class, and ``log p(y) - E(x, y) - log Z_y`` ``(n, K)``
    relative to it, which for one class is just the negative energies."""
    first = log_z[0].value
    constants = torch.tensor([z.value - first for z in log_z], dtype=torch.float64)
    return first, (shares.log() - constants).to(energies.device) - energies.double()


def _error(values: Tensor, log_z: Sequence[Estimate], weights: Tensor) -> float:
    shares = weights.tolist()
    parts = (w * z.error for w, z in zip(shares, log_z, strict=True) if w)
    return math.hypot(error_of_mean(values), *parts)


def _check(log_z: Sequence[Estimate], energies: Tensor) -> None:
    wanted = energies.dim() == 2 and len(energies) > 0 and energies.shape[1] == len(log_z)
    if not wanted or not bool(energies.isfinite().all()):
        raise ValueError(
            f"energies: expected finite values (n, {len(log_z)}), n >= 1, got shape "
            f"{tuple(energies.shape)} with {int((~energies.isfinite()).sum())} not finite"
        )
