"""Estimates with standard errors, from samples and from log weights."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from effebm_ext.log_weights import check_log_weights, effective_size, log_of_mean


class Estimate(NamedTuple):
    """An estimate: its ``value`` and its standard ``error``."""

    value: float
    error: float


def ess(log_weights: Tensor) -> float:
    """Returns Kish's effective sample size ``1 / sum(w^2)`` of the normalised weights, 1 to n.

    Args:
        log_weights: ``(n,)``, up to a common constant; -inf is a weight of zero.

    Raises:
        ValueError: log_weights are not of one axis or empty, all weights are zero, or one is nan or
            +inf.
    """
    check_log_weights(log_weights)
    return effective_size(log_weights)


def log_mean_exp(log_weights: Tensor) -> Estimate:
    """Estimates ``log mean w``, with the standard error of the delta method, ``std(w) / (mean(w)
    sqrt(n))``.

    The error says nothing of the bias of a logarithm, and misses what rare large weights would
    change: do not trust it where :func:`ess` is small.

    Args:
        log_weights: ``(n,)``, summed in float64; with n = 1 the error is infinite.

    Raises:
        ValueError: as in :func:`ess`.
    """
    check_log_weights(log_weights)
    value = log_of_mean(log_weights)
    relative = (log_weights.double() - value).exp()  # their mean is one
    return Estimate(value, error_of_mean(relative))


def cross_entropy(log_z: Estimate, data_energies: Tensor) -> Estimate:
    """Estimates ``log Z + mean E(data)``: how many nats per sample the model ``exp(-E) / Z`` needs.

    The parts are independent, so their squared errors add.

    Args:
        log_z: log Z of the model.
        data_energies: energies ``(n,)`` of data that the model was not trained on.

    Raises:
        ValueError: data_energies is not of one axis, empty, or not finite.
    """
    energies = data_energies.double()
    if energies.dim() != 1 or len(energies) == 0 or not bool(energies.isfinite().all()):
        raise ValueError(
            "data_energies: expected finite values (n,), n >= 1, "
            f"got shape {tuple(energies.shape)} with {int((~energies.isfinite()).sum())} not finite"
        )
    error = math.hypot(log_z.error, error_of_mean(energies))
    return Estimate(log_z.value + float(energies.mean()), error)


def error_of_mean(x: Tensor) -> float:
    return float(x.std()) / math.sqrt(len(x)) if len(x) > 1 else math.inf
