"""The laws of plain chains for any energy in one dimension, and what a wrong precision costs.

``effebm_ext.bias`` has the laws for Gaussians. These are for one entry of many, in the limit of
small steps.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import integrate, optimize

Array = np.ndarray[Any, Any]


def density(grid: Array, slope: Array) -> Array:
    """Whose log falls by ``slope``."""
    log_density = -integrate.cumulative_trapezoid(slope, grid, initial=0)
    weight = np.exp(log_density - log_density.max())
    return weight / integrate.trapezoid(weight, grid)


def topk_density(grid: Array, gradient: Array, ratio: float) -> Array:
    """Of one entry under Top-k, d large, for any energy in one dimension: the slope of the log
    density is minus the gradient where that is beyond the threshold, and 0 elsewhere."""

    def flattened(threshold: float) -> Array:
        return density(grid, np.where(np.abs(gradient) > threshold, gradient, 0))

    def excess(threshold: float) -> float:
        beyond = flattened(threshold) * (np.abs(gradient) > threshold)
        return float(integrate.trapezoid(beyond, grid)) - ratio

    steepest = min(abs(gradient[0]), abs(gradient[-1]))
    return flattened(optimize.brentq(excess, 0, steepest * (1 - 1e-9)))


def block_sign_density(grid: Array, gradient: Array) -> Array:
    """Of one entry of a large block under Block-Sign, for any energy in one dimension: a Laplace
    law about the mode, whose slope is the mean magnitude of the gradient under it."""

    def excess(slope: float) -> float:
        law = density(grid, slope * np.sign(gradient))
        return float(integrate.trapezoid(law * np.abs(gradient), grid)) - slope

    slope = optimize.brentq(excess, 0.05, np.abs(gradient).max())
    return density(grid, slope * np.sign(gradient))


def excess_cross_entropy(precision: float) -> float:
    """Nats per dimension that N(0, 1 / precision) costs on data of N(0, 1)."""
    return (precision - 1 - math.log(precision)) / 2
