"""Compression corrected: walkers that are weighted, and steps that are Metropolis-adjusted.

Both studies are of N(0, I / precision), where the precision moves: along a given path
(``followed``), or because it is learned (``learned_by_walkers``). All figures are over the seeds,
which are run apart.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.losses import contrastive_divergence
from experiments.common.records import Row
from experiments.compression_bias.chains import Compressor, mean
from experiments.compression_bias.chains import Setting as Chain
from experiments.compression_bias.closed_forms import excess_cross_entropy
from experiments.compression_bias.gaussians import Gaussian
from experiments.compression_bias.scales import Scale

FINAL_PRECISION, DURATION = 2.0, 2.0
_LOG_VOLUME = math.log(2 * math.pi) / 2
Correction = Literal["none", "weights", "MALA + weights"]


@dataclass(frozen=True)
class Setting:
    """Chains of one kind, in d dimensions."""

    compressor: Compressor
    correction: Correction
    dim: int
    step_size: float

    def name(self) -> str:
        chain = Chain(self.compressor, False, self.step_size).name(self.dim)
        return chain if self.correction == "none" else f"{chain}, {self.correction}"


def corrected_settings(scale: Scale) -> Iterator[Setting]:
    for dim in scale.corrected_dims:
        for compressor in (None, eff.TopK(ratio=0.5), eff.TopK(ratio=0.1), eff.BlockSign(dim)):
            for correction in typing.get_args(Correction):
                yield Setting(compressor, correction, dim, scale.corrected_step_size)


class _Run:
    """Walkers that start as samples of N(0, I) and follow an energy, corrected or not."""

    def __init__(self, setting: Setting, energy: Gaussian, scale: Scale, seed: int) -> None:
        self.energy, self.dim = energy, setting.dim
        generator = torch.Generator().manual_seed(seed)
        x0 = torch.randn(scale.walkers, setting.dim, generator=generator)
        kind = eff.MALA if setting.correction.startswith("MALA") else eff.Langevin
        sampler = kind(energy, step_size=setting.step_size, compressor=setting.compressor)
        self.walkers: WeightedWalkers | PersistentChains
        if setting.correction == "none":
            self.walkers = PersistentChains(sampler, x0, rng=eff.Key(seed))
        else:
            log_density = -x0.double().square().sum(1) / 2 - setting.dim * _LOG_VOLUME
            self.walkers = WeightedWalkers(sampler, x0, log_density, rng=eff.Key(seed))
        self.ess: list[float] = []  # share of the walkers, after every advance
        self.acceptance: list[float] = []

    @property
    def weighted(self) -> bool:
        return isinstance(self.walkers, WeightedWalkers)

    @property
    def x(self) -> Tensor:
        return self.walkers.walkers.x if self.weighted else self.walkers.x

    @property
    def weights(self) -> Tensor | None:
        return self.walkers.weights.float() if self.weighted else None

    def advance(self, n_steps: int) -> None:
        seen = self.walkers.advance(n_steps)
        if self.weighted:
            self.ess.append(seen.ess / len(self.x))
            if seen.acceptance is not None:
                self.acceptance.append(seen.acceptance)

    def log_z_error(self) -> float:
        precision = float(self.energy.log_precision.detach().double().exp())
        return self.walkers.log_z - self.dim * (_LOG_VOLUME - math.log(precision) / 2)


def followed(setting: Setting, scale: Scale) -> Row:
    """The precision goes from 1 to FINAL_PRECISION, evenly in its logarithm and in DURATION units
    of time. ``variance``: over the target's, at the end."""
    updates = scale.followed_updates
    steps = max(1, round(DURATION / setting.step_size / updates))
    runs, variances = [], []
    for seed in scale.seeds:
        energy = Gaussian()
        run = _Run(setting, energy, scale, seed)
        for update in range(1, updates + 1):
            with torch.no_grad():
                energy.log_precision.fill_(math.log(FINAL_PRECISION) * update / updates)
            run.advance(steps)
        squares = FINAL_PRECISION * run.x.double().square().mean(1)
        weights = run.weights
        variances.append(float(squares.mean() if weights is None else weights.double() @ squares))
        runs.append(run)
    return {"variance": _mean(variances)} | _seen(setting, runs)


def learned_by_walkers(setting: Setting, scale: Scale) -> Row:
    """The precision is fitted to N(0, I), from where it is right, with ``scale.learned_updates``
    updates of a tenth of a unit of time each; ``precision``: mean over the second half."""
    runs, found = [], []
    for seed in scale.seeds:
        energy = Gaussian()
        run = _Run(setting, energy, scale, seed)
        generator = torch.Generator().manual_seed(seed + 1000)
        optimiser = torch.optim.Adam(energy.parameters(), lr=0.02)
        data = torch.empty_like(run.x)
        values = []
        for _ in range(scale.learned_updates):
            data.normal_(generator=generator)
            optimiser.zero_grad()
            loss = contrastive_divergence(energy(data), energy(run.x), weights=run.weights).loss
            loss.backward()
            optimiser.step()
            run.advance(max(1, round(0.1 / setting.step_size)))
            values.append(energy.log_precision.exp().item())
        half = values[len(values) // 2 :]
        found.append(sum(half) / len(half))
        runs.append(run)
    return {
        "precision": _mean(found),
        "excess": _mean([excess_cross_entropy(p) for p in found]),
    } | _seen(setting, runs)


def _mean(values: list[float]) -> tuple[float, float]:
    return mean(torch.tensor(values, dtype=torch.float64))


def _seen(setting: Setting, runs: list[_Run]) -> Row:
    """What the walkers did. ``ess``: mean over the updates; ``lowest_ess``: of them all."""
    row: Row = {"chain": setting.name(), "dim": setting.dim, "step_size": setting.step_size}
    if setting.correction != "none":
        row["ess"] = _mean([sum(run.ess) / len(run.ess) for run in runs])
        row["lowest_ess"] = min(min(run.ess) for run in runs)
        row["log_z_error"] = _mean([run.log_z_error() for run in runs])
    if runs[0].acceptance:
        row["acceptance"] = _mean([sum(r.acceptance) / len(r.acceptance) for r in runs])
    return row
