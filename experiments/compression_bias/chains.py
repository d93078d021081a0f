"""Chains of compressed Langevin steps, looked at from time to time, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import effebm_ext as eff

Compressor = eff.TopK | eff.BlockSign | None


@dataclass(frozen=True)
class Setting:
    """One kind of chain."""

    compressor: Compressor
    error_feedback: bool
    step_size: float

    def name(self, dim: int) -> str:
        match self.compressor:
            case eff.TopK() as c:
                name = f"Top-k {c.entries(dim) / dim:.3g}"
            case eff.BlockSign() as c:
                name = f"Block-Sign {c.block_size}"
            case _:
                return "uncompressed"
        return name + " + feedback" * self.error_feedback


class Look(NamedTuple):
    """Chains at one moment, and the compressed gradient that has just moved them."""

    x: Tensor
    moved_by: Tensor


def look(
    x: Tensor,
    gradient: Callable[[Tensor], Tensor],
    setting: Setting,
    seed: int,
    *,
    burn_in: float,
    duration: float,
    times: int,
) -> Iterator[Look]:
    """Moves ``x`` in place and shows it ``times`` times, evenly spread over ``duration``, after
    ``burn_in``. Both are in units of the diffusion: a step is ``step_size`` of it."""
    residual = torch.zeros_like(x) if setting.error_feedback else None
    every = max(1, round(duration / setting.step_size / times))
    first = math.ceil(burn_in / setting.step_size)
    key = eff.Key(seed)
    for step in range(first + times * every):
        shown = step >= first and (step - first + 1) % every == 0
        g = gradient(x)
        u = (g if residual is None else g + residual) if shown else None
        eff.langevin_step_(
            x, g, setting.step_size,
            compressor=setting.compressor, residual=residual, rng=key.at(step),
        )  # fmt: skip
        if u is not None:
            yield Look(x, setting.compressor.compress(u) if setting.compressor else u)


def draw(law: Any, shape: tuple[int, int], seed: int) -> Tensor:
    """From one of our laws or, without any correlation in a row, one of scipy's."""
    rng = np.random.default_rng(seed)
    if hasattr(law, "rvs"):
        return torch.tensor(law.rvs(size=shape, random_state=rng), dtype=torch.float32)
    return torch.tensor(law.sample(shape, rng), dtype=torch.float32)


class Estimate(NamedTuple):
    value: float
    error: float


def mean(samples: Tensor) -> Estimate:
    """Of independent samples ``(n,)``, with its standard error."""
    return Estimate(samples.mean().item(), (samples.std() / math.sqrt(len(samples))).item())


def jackknife(statistic: Callable[[Tensor], Tensor], samples: Tensor) -> Estimate:
    """A statistic of the independent ``samples`` ``(n, ...)``, with its standard error."""
    n = len(samples)
    everything = torch.ones(n, dtype=torch.bool)
    left = []
    for i in range(n):
        everything[i] = False
        left.append(statistic(samples[everything]))
        everything[i] = True
    spread = torch.stack(left).std(unbiased=False) * math.sqrt(n - 1)
    return Estimate(statistic(samples).item(), spread.item())


def squared_norm(samples: Tensor) -> Tensor:
    """Of the expectation of independent ``samples`` ``(n, ...)``: the mean inner product of two
    different ones, which, unlike the square of their mean, their noise does not raise."""
    n, flat = len(samples), samples.flatten(1)
    return (flat.sum(0).square().sum() - flat.square().sum()) / (n * (n - 1))
