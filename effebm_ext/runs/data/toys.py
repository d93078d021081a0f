"""Data sets in the plane that are drawn anew for every run."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Points = tuple[np.ndarray, np.ndarray]  # (n, 2), and the mode of each as its label (n,)


def eight_gaussians(n: int, rng: np.random.Generator) -> Points:
    """Draws from eight Gaussians of standard deviation 0.1 on a circle of radius 1.5."""
    mode = rng.integers(0, 8, n)
    angle = mode * (math.pi / 4)
    centres = 1.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return centres + 0.1 * rng.standard_normal((n, 2)), mode


def two_moons(n: int, rng: np.random.Generator) -> Points:
    """Draws from two interleaved half circles with Gaussian noise of 0.1; the upper one has label
    1."""
    upper = rng.integers(0, 2, n).astype(bool)
    angle = math.pi * rng.random(n)
    x = np.where(upper, np.cos(angle), 1.0 - np.cos(angle)) - 0.5
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle)) - 0.25
    return np.stack([x, y], axis=1) + 0.1 * rng.standard_normal((n, 2)), upper


def rings(n: int, rng: np.random.Generator) -> Points:
    """Draws from two concentric circles of radius 0.75 and 1.5 with radial noise of 0.08; the outer
    one has label 1."""
    inner = rng.random(n) < 0.5
    radius = np.where(inner, 0.75, 1.5) + 0.08 * rng.standard_normal(n)
    angle = 2 * math.pi * rng.random(n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), ~inner


TOYS: dict[str, Callable[[int, np.random.Generator], Points]] = {
    "eight-gaussians": eight_gaussians,
    "two-moons": two_moons,
    "rings": rings,
}
