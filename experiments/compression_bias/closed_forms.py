"""What compressed chains sample in the limit of small steps.

A chain with gradient C(x) in the place of x has the drift ``-C(x) / 2``. For both compressors that
drift is itself a gradient, so that the law of a whole row is known for every d:

- Top-k:       exp(-|top_k(x)|^2 / 2), with potential "half the squares of the k largest entries",
- Block-Sign:  exp(-|x|_1^2 / (2 b)) for every block of b entries.

``TopKRow`` and ``SignBlock`` are these, ``FlatTop`` and ``scipy.stats.laplace`` the laws of one
entry that they tend to as d and b grow. All are for the target N(0, I), are even, and are used like
the frozen distributions of scipy: ``cdf``, ``var``.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import integrate, optimize, special, stats

Array = np.ndarray[Any, Any]


def mills(t: Array | float) -> Any:
    """The integral of exp(-(x^2 - t^2) / 2) over x > t."""
    return math.sqrt(math.pi / 2) * special.erfcx(np.asarray(t) / math.sqrt(2))


def passed(t: Array | float) -> Any:
    """The share of entries beyond t if their law is flat within and Gaussian beyond."""
    return mills(t) / (t + mills(t))


@dataclass(frozen=True)
class FlatTop:
    """One entry under Top-k of a share ``ratio``, d large: flat within a threshold,
    exp(-(x^2 - threshold^2) / 2) beyond."""

    ratio: float

    @functools.cached_property
    def threshold(self) -> float:
        return optimize.brentq(lambda t: passed(t) - self.ratio, 0, 2 / math.sqrt(self.ratio))

    def cdf(self, x: Array) -> Array:
        t, size = self.threshold, np.abs(x)
        far = np.maximum(size, t)
        beyond = mills(far) * np.exp((t**2 - far**2) / 2)
        tail = (beyond + np.maximum(t - size, 0)) / (t + mills(t)) / 2
        return np.where(x > 0, 1 - tail, tail)

    def var(self) -> float:
        t = self.threshold
        return float((t**3 / 3 + t + mills(t)) / (t + mills(t)))


@dataclass(frozen=True)
class TopKRow:
    """A row of d entries under Top-k. Given its k-th largest magnitude t, the k - 1 larger ones are
    Gaussian beyond t and the d - k smaller ones uniform within."""

    k: int
    dim: int

    @functools.cached_property
    def _threshold(self) -> tuple[Array, Array]:
        """Values of t and their probabilities."""
        t = np.linspace(0, 12 + FlatTop(self.k / self.dim).threshold, 20001)[1:]
        log_weight = -(t**2) / 2 + (self.k - 1) * special.log_ndtr(-t)
        log_weight += (self.dim - self.k) * np.log(t)
        weight = np.exp(log_weight - log_weight.max())
        return t, weight / weight.sum()

    def cdf(self, x: Array) -> Array:
        t, weight = self._threshold
        size = np.abs(np.atleast_1d(x))[:, None]
        far = np.maximum(size, t)
        larger = np.exp((t**2 - far**2) / 2) * mills(far) / mills(t)
        smaller = np.maximum(1 - size / t, 0)
        beyond = (t > size) + (self.k - 1) * larger + (self.dim - self.k) * smaller
        tail = beyond @ weight / self.dim / 2
        return np.where(x > 0, 1 - tail, tail)

    def var(self) -> float:
        t, weight = self._threshold
        squares = t**2 + (self.k - 1) * (1 + t / mills(t)) + (self.dim - self.k) * t**2 / 3
        return float(squares @ weight / self.dim)

    def sample(self, shape: tuple[int, int], rng: np.random.Generator) -> Array:
        values, weight = self._threshold
        t = rng.choice(values, shape[0], p=weight)[:, None]
        size = t * rng.random(shape)
        size[:, 0] = t[:, 0]
        size[:, 1 : self.k] = _beyond(np.broadcast_to(t, (shape[0], self.k - 1)), rng)
        return rng.permuted(size, axis=1) * rng.choice([-1, 1], shape)


@dataclass(frozen=True)
class SignBlock:
    """A block of ``size`` entries under Block-Sign: the sum of magnitudes is sqrt(size) times a chi
    variable of as many degrees of freedom, and is split evenly among the entries."""

    size: int

    def cdf(self, x: Array) -> Array:
        levels = (np.arange(20000) + 0.5) / 20000
        total = math.sqrt(self.size) * stats.chi(self.size).ppf(levels)
        share = np.abs(np.atleast_1d(x))[:, None] / total
        tail = np.where(share < 1, np.maximum(1 - share, 0) ** (self.size - 1), 0).mean(1) / 2
        return np.where(x > 0, 1 - tail, tail)

    def var(self) -> float:
        return 2 * self.size / (self.size + 1)

    def sample(self, shape: tuple[int, int], rng: np.random.Generator) -> Array:
        blocks = rng.standard_exponential((shape[0], shape[1] // self.size, self.size))
        total = np.sqrt(self.size * rng.chisquare(self.size, blocks.shape[:2]))[..., None]
        size = (total * blocks / blocks.sum(-1, keepdims=True)).reshape(shape)
        return size * rng.choice([-1, 1], shape)


@dataclass(frozen=True)
class FlatTops:
    """Entries of the target N(0, 1 / eigenvalues) under Top-k of a share ``ratio``, d large: one
    threshold for the magnitudes of all gradients, at another quantile for each eigenvalue."""

    eigenvalues: Array
    ratio: float

    @functools.cached_property
    def thresholds(self) -> Array:
        """In units of the target's standard deviations."""

        def excess(threshold: float) -> float:
            return passed(threshold / np.sqrt(self.eigenvalues)).mean() - self.ratio

        highest = 2 * math.sqrt(self.eigenvalues.max() / self.ratio)
        return optimize.brentq(excess, 0, highest) / np.sqrt(self.eigenvalues)

    def var(self) -> Array:
        t = self.thresholds
        return (t**3 / 3 + t + mills(t)) / (t + mills(t)) / self.eigenvalues

    def sample(self, shape: tuple[int, int], rng: np.random.Generator) -> Array:
        t = np.broadcast_to(self.thresholds, shape)
        beyond = rng.random(shape) < passed(t)
        size = np.where(beyond, _beyond(t, rng), t * rng.random(shape))
        return size * rng.choice([-1, 1], shape) / np.sqrt(self.eigenvalues)


def sign_law(eigenvalues: Array) -> Any:
    """Of every entry of a large block under Block-Sign for the target N(0, 1 / eigenvalues),
    whatever its own eigenvalue."""
    return stats.laplace(scale=1 / math.sqrt(np.mean(eigenvalues)))


def _beyond(t: Array, rng: np.random.Generator) -> Array:
    """Normal variables, given that they are beyond t."""
    return -special.ndtri(rng.random(t.shape) * special.ndtr(-t))


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
