"""The law of one entry, where all are alike: against closed forms of its density.

A study returns a row, a dict of numbers. Errors are those over chains, which are independent, of
all seeds together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

import effebm_ext as eff
from effebm_ext.bias import plain, predicted_bias
from experiments.common.records import Row
from experiments.compression_bias import closed_forms as forms
from experiments.compression_bias.chains import (
    Compressor,
    Look,
    Setting,
    draw,
    jackknife,
    look,
    mean,
)
from experiments.compression_bias.scales import Scale

MEAN = 1.0  # of the Gaussian targets
LOOKS = 40


def row_law(compressor: Compressor, dim: int) -> Any:
    """Of an entry of the plain chain on N(0, I) in the limit of small steps, for this d."""
    match compressor:
        case eff.TopK() as c if c.entries(dim) < dim:
            return plain.TopKRow(c.entries(dim), dim)
        case eff.BlockSign() as c:
            return plain.SignBlock(c.block_size)
    return stats.norm()


def limit_law(compressor: Compressor, dim: int) -> Any:
    """The same for d, or the block, to infinity."""
    match compressor:
        case eff.TopK() as c if c.entries(dim) < dim:
            return plain.FlatTop(c.entries(dim) / dim)
        case eff.BlockSign():
            return stats.laplace()
    return stats.norm()


def entry_law(setting: Setting, scale: Scale, dim: int | None = None) -> Row:
    """Density, mean and variance of an entry for the target N(MEAN, I). Plain chains start from the
    law expected of them, those with feedback from the target; both then burn in."""
    dim = dim or scale.dim
    n_chains = scale.chains * max(1, scale.dim // dim)
    expected = stats.norm() if setting.error_feedback else row_law(setting.compressor, dim)
    limit = stats.norm() if setting.error_feedback else limit_law(setting.compressor, dim)
    edges = np.linspace(-4, 4, 65) * math.sqrt(limit.var())
    duration = max(scale.duration, 4 * expected.var())
    if isinstance(setting.compressor, eff.TopK):  # an entry is passed on about every d / k steps
        duration = max(duration, 20 * setting.step_size * dim / setting.compressor.entries(dim))

    def observe(seen: Look) -> Tensor:
        z = seen.x - MEAN
        bins = torch.bucketize(z, torch.tensor(edges, dtype=z.dtype))
        mass = torch.zeros(n_chains, len(edges) + 1).scatter_add_(1, bins, torch.ones_like(z)) / dim
        moments = [z.mean(1), z.square().mean(1), seen.moved_by.square().mean(1)]
        return torch.cat([mass, torch.stack(moments, 1)], 1).double()

    seeds = []
    for seed in scale.seeds:
        looks = look(
            draw(expected, (n_chains, dim), seed) + MEAN, lambda x: x - MEAN, setting, seed,
            burn_in=duration / 3, duration=duration, times=LOOKS,
        )  # fmt: skip
        seeds.append(sum(map(observe, looks)) / LOOKS)
    *_, first, second, moved_by = (averages := torch.cat(seeds)).T
    mass = averages[:, : len(edges) + 1]
    error = mass.std(0) / math.sqrt(len(mass))
    row: Row = {
        "chain": setting.name(dim), "feedback": setting.error_feedback, "dim": dim,
        "step_size": setting.step_size, "mean_bias": mean(first), "variance": mean(second),
        "variance_expected": expected.var(), "variance_limit": limit.var(),
        "edges": edges, "mass": mass.mean(0), "mass_error": error,
        "distance_by_noise": error.sum().item() / math.sqrt(2 * math.pi),
    }  # fmt: skip
    for name, law in {"expected": expected, "limit": limit}.items():
        row[f"mass_{name}"] = torch.tensor(np.diff(law.cdf(edges), prepend=0, append=1))
        row[f"distance_{name}"] = jackknife(_distance(row[f"mass_{name}"]), mass)
    if setting.error_feedback:
        row["variance_by_identity"] = mean(1 + setting.step_size / 4 * moved_by)
        predicted = predicted_bias(setting.compressor, dim, setting.step_size)
        row["variance_predicted"] = predicted.virial
    return row


def _distance(expected: Tensor) -> Callable[[Tensor], Tensor]:
    """Total variation from a binned law: the mass that would have to move."""
    return lambda mass: (mass.mean(0) - expected).abs().sum() / 2


SKEW = (4.0, 1.0)  # how steep the energy is far to the right, and far to the left


def skewed(setting: Setting, scale: Scale) -> Row:
    """Mean and variance of a skewed target, density ~ exp(b x) / (1 + exp(x))^(a + b)."""
    a, b = SKEW
    grid = np.linspace(-80, 20, 50001)
    gradient = (a + b) / (1 + np.exp(-grid)) - b
    target = forms.density(grid, gradient)
    density = target
    if not setting.error_feedback:
        match setting.compressor:
            case eff.TopK() as c:
                density = forms.topk_density(grid, gradient, c.entries(scale.dim) / scale.dim)
            case eff.BlockSign():
                density = forms.block_sign_density(grid, gradient)
    weight = density / density.sum()
    expected = stats.rv_histogram((weight[1:], grid))
    centre = weight @ grid
    variance = weight @ (grid - centre) ** 2
    duration = max(scale.duration, 4 * variance)
    seeds = []
    for seed in scale.seeds:
        x = draw(expected, (scale.chains, scale.dim), seed)
        looks = look(
            x, lambda x: (a + b) * torch.sigmoid(x) - b, setting, seed,
            burn_in=duration / 3, duration=duration, times=LOOKS,
        )  # fmt: skip
        moments = (torch.stack([s.x.mean(1), s.x.square().mean(1)], 1).double() for s in looks)
        seeds.append(sum(moments) / LOOKS)
    averages = torch.cat(seeds)
    return {
        "chain": setting.name(scale.dim), "feedback": setting.error_feedback,
        "step_size": setting.step_size,
        "mean": mean(averages[:, 0]), "mean_expected": centre,
        "mean_target": target @ grid / target.sum(),
        "variance": jackknife(lambda m: m[:, 1].mean() - m[:, 0].mean().square(), averages),
        "variance_expected": variance,
    }  # fmt: skip
