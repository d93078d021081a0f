"""The laws of chains that are compressed without error feedback, in the limit of small steps.

A chain with the compressed gradient ``C(x)`` in the place of x has the drift ``-C(x) / 2``. For
Top-k and Block-Sign and the target N(0, I) that drift is itself a gradient, so the law of a whole
row is known for every d:

- Top-k:       exp(-|top_k(x)|^2 / 2), with potential "half the squares of the k largest entries",
- Block-Sign:  exp(-|x|_1^2 / (2 b)) for every block of b entries.

``TopKRow`` and ``SignBlock`` are these laws. ``FlatTop`` is the law of one entry under Top-k as d
grows at fixed k/d; under Block-Sign it is Laplace's law as b grows. All laws are even, and are used
like the frozen distributions of scipy: ``cdf`` and ``var``. ``FlatTops`` is for several scales.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, Any]


def mills(t: Array | float) -> Any:
    """Returns the integral of exp(-(x^2 - t^2) / 2) over x > t, float64 of the shape of ``t``."""
    return math.sqrt(math.pi / 2) * _of_tensor(torch.special.erfcx, np.asarray(t) / math.sqrt(2))


def passed(t: Array | float) -> Any:
    """Returns the share of entries beyond t, if their law is flat within and Gaussian beyond."""
    return mills(t) / (t + mills(t))


@dataclass(frozen=True)
class FlatTop:
    """One entry of N(0, I) under Top-k of a share ``ratio``, 0 < ratio < 1, for large d: flat
    within a threshold, exp(-(x^2 - threshold^2) / 2) beyond."""

    ratio: float

    @functools.cached_property
    def threshold(self) -> float:
        return falling_root(lambda t: passed(t) - self.ratio, 2 / math.sqrt(self.ratio))

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
    """A row of d entries of N(0, I) under Top-k, 1 <= k <= d. Given its k-th largest magnitude t,
    the k - 1 larger ones are Gaussian beyond t and the d - k smaller ones uniform within."""

    k: int
    dim: int

    @functools.cached_property
    def _threshold(self) -> tuple[Array, Array]:
        """Values of t and their probabilities."""
        highest = FlatTop(self.k / self.dim).threshold if self.k < self.dim else 0.0
        t = np.linspace(0, 12 + highest, 20001)[1:]
        log_weight = -(t**2) / 2 + (self.k - 1) * _of_tensor(torch.special.log_ndtr, -t)
        return t, _normalised(log_weight + (self.dim - self.k) * np.log(t))

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
    """A block of ``size`` entries of N(0, I) under Block-Sign: the sum of magnitudes is sqrt(size)
    times a chi variable of as many degrees of freedom, and is split evenly among the entries."""

    size: int

    def cdf(self, x: Array) -> Array:
        middle = math.sqrt(self.size)
        chi = np.linspace(max(middle - 12, 0), middle + 12, 20001)[1:]
        weight = _normalised((self.size - 1) * np.log(chi) - chi**2 / 2)
        share = np.abs(np.atleast_1d(x))[:, None] / (middle * chi)
        within = np.where(share < 1, np.maximum(1 - share, 0) ** (self.size - 1), 0)
        tail = within @ weight / 2
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
    """Entries of the target N(0, 1 / eigenvalues) under Top-k of a share ``ratio``, for large d:
    one threshold for the magnitudes of all gradients, at another quantile for each eigenvalue."""

    eigenvalues: Array
    ratio: float

    @functools.cached_property
    def thresholds(self) -> Array:
        """In units of the target's standard deviations."""
        roots = np.sqrt(self.eigenvalues)
        highest = 2 * roots.max() / math.sqrt(self.ratio)
        return falling_root(lambda t: passed(t / roots).mean() - self.ratio, highest) / roots

    def var(self) -> Array:
        t = self.thresholds
        return (t**3 / 3 + t + mills(t)) / (t + mills(t)) / self.eigenvalues

    def sample(self, shape: tuple[int, int], rng: np.random.Generator) -> Array:
        t = np.broadcast_to(self.thresholds, shape)
        beyond = rng.random(shape) < passed(t)
        size = np.where(beyond, _beyond(t, rng), t * rng.random(shape))
        return size * rng.choice([-1, 1], shape) / np.sqrt(self.eigenvalues)


def sign_variance(eigenvalues: Array) -> float:
    """Returns the variance of Laplace's law, which every entry of a large block has under
    Block-Sign for the target N(0, 1 / eigenvalues), whatever its own eigenvalue."""
    return 2 / float(np.mean(eigenvalues))


def falling_root(function: Callable[[float], float], upper: float) -> float:
    """Returns where a falling function changes its sign between 0 and ``upper``, by bisection."""
    lower = 0.0
    for _ in range(60):
        middle = (lower + upper) / 2
        lower, upper = (middle, upper) if function(middle) > 0 else (lower, middle)
    return (lower + upper) / 2


def _normalised(log_weight: Array) -> Array:
    weight = np.exp(log_weight - log_weight.max())
    return weight / weight.sum()


def _beyond(t: Array, rng: np.random.Generator) -> Array:
    """Draws normal variables, given that they are beyond t."""
    # torch.special.ndtr is 0 from -9 on.
    levels = rng.random(t.shape) * _of_tensor(torch.special.erfc, t / math.sqrt(2)) / 2
    return -_of_tensor(torch.special.ndtri, levels)


def _of_tensor(function: Callable[[torch.Tensor], torch.Tensor], x: Array) -> Array:
    return function(torch.tensor(x, dtype=torch.float64)).numpy()
