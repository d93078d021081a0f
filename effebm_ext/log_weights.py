"""Logarithms of importance weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def check_log_weights(log_weights: Tensor, name: str = "log_weights") -> None:
    """Refuses weights that allow no estimate, by the name of the argument.

    Raises:
        ValueError: they are not of one axis, empty, or all zero, or one is NaN or infinite.
    """
    if log_weights.dim() != 1 or len(log_weights) == 0:
        raise ValueError(f"{name}: expected shape (n,), n >= 1, got {tuple(log_weights.shape)}")
    largest = float(log_weights.max())  # nan if there is one
    if not math.isfinite(largest):
        raise ValueError(f"{name}: expected a finite maximum, got {largest}")


def effective_size(log_weights: Tensor) -> float:
    """Returns Kish's effective sample size ``1 / sum(w^2)`` of the normalised weights ``(n,)``, 1
    to n; NaN if all weights are zero."""
    return float(1 / torch.softmax(log_weights.double(), 0).square().sum())


def log_of_mean(log_weights: Tensor) -> float:
    """Returns ``log mean w`` of weights ``(n,)``, summed in float64."""
    return float(torch.logsumexp(log_weights.double(), 0)) - math.log(len(log_weights))
