"""Gaussians of many scales, and a Gaussian that is learned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

import effebm_ext as eff
from effebm_ext.bias import plain
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.losses import contrastive_divergence
from experiments.common.records import Row
from experiments.compression_bias import closed_forms as forms
from experiments.compression_bias.chains import (
    Look,
    Setting,
    draw,
    jackknife,
    look,
    mean,
    squared_norm,
)
from experiments.compression_bias.entries import row_law
from experiments.compression_bias.scales import Scale

MEAN = 1.0  # of the target
LOOKS = 100


def ill_conditioned(setting: Setting, rotated: bool, scale: Scale) -> Row:
    """Covariance and mean for a Gaussian of precisions 1 to 100, along the axes or rotated.

    Everything is of ``z``, the state in the eigenbasis and in units of the target's standard
    deviations, whose covariance should be the identity.
    """
    dim = scale.hard_dim
    spectrum = np.logspace(0, 2, dim)
    eigenvalues = torch.tensor(spectrum).float()
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q
    basis = basis if rotated else torch.eye(dim)
    precision = basis * eigenvalues @ basis.T
    to_unit = basis * eigenvalues.sqrt()

    def gradient(x: Tensor) -> Tensor:
        return (x - MEAN) @ precision if rotated else (x - MEAN) * eigenvalues

    target = stats.norm(scale=1 / np.sqrt(spectrum))
    law = _law(setting, spectrum, rotated)

    def observe(seen: Look) -> Tensor:
        z = (seen.x - MEAN) @ to_unit
        products = (z[:, :, None] * z[:, None, :]).flatten(1)
        return torch.cat([seen.moved_by.square().mean(1, keepdim=True), z, products], 1)

    seeds = []
    for seed in scale.seeds:
        x = draw(law or target, (scale.hard_chains, dim), seed) @ basis.T + MEAN
        looks = look(
            x, gradient, setting, seed,
            burn_in=scale.duration, duration=2 * scale.duration, times=LOOKS,
        )  # fmt: skip
        seeds.append(sum(map(observe, looks)) / LOOKS)
    moved_by, first, second = torch.cat(seeds).split([1, dim, dim * dim], 1)
    second = second.unflatten(1, (dim, dim))
    unit, eighth = torch.eye(dim), dim // 8
    variances = second.diagonal(dim1=1, dim2=2)
    found: Row = {
        "chain": setting.name(dim), "feedback": setting.error_feedback, "rotated": rotated,
        "step_size": setting.step_size,
        "mean_bias_squared": jackknife(lambda m: squared_norm(m) / dim, first),
        "trace": mean(variances.mean(1)),
        "soft": mean(variances[:, :eighth].mean(1)), "stiff": mean(variances[:, -eighth:].mean(1)),
        "frobenius_squared": jackknife(lambda s: squared_norm(s - unit) / dim, second),
    }  # fmt: skip
    if setting.error_feedback:
        found["trace_by_identity"] = mean(1 + setting.step_size / 4 * moved_by[:, 0])
    if law is not None:
        relative = law.var() * spectrum
        found["soft_expected"] = float(relative[:eighth].mean())
        found["stiff_expected"] = float(relative[-eighth:].mean())
    return found


def _law(setting: Setting, spectrum: np.ndarray[Any, Any], rotated: bool) -> Any:
    """Expected of the entries, where there is a closed form; that of the compressed chains is for
    small steps and d large."""
    if setting.compressor is None:
        return stats.norm(scale=1 / np.sqrt(spectrum * (1 - setting.step_size / 4 * spectrum)))
    if not (setting.error_feedback or rotated):
        dim = len(spectrum)
        match setting.compressor:
            case eff.TopK() as c:
                return plain.FlatTops(spectrum, c.entries(dim) / dim)
            case eff.BlockSign(size) if size == dim:
                return stats.laplace(scale=math.sqrt(plain.sign_variance(spectrum) / 2))
    return None


class Gaussian(nn.Module):
    """precision * |x|^2 / 2."""

    def __init__(self) -> None:
        super().__init__()
        self.log_precision = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.log_precision.exp() * x.square().sum(1) / 2


def learned_precision(setting: Setting, scale: Scale) -> Row:
    """Fits the precision of a Gaussian energy to N(0, 1) by persistent contrastive divergence, and
    averages the second half of the updates. Errors are over seeds, which are trained apart."""
    dim = scale.dim
    shape = (scale.chains, dim)
    found: list[float] = []
    for seed in scale.seeds:
        generator = torch.Generator().manual_seed(seed)
        energy = Gaussian()
        sampler = eff.Langevin(
            energy, step_size=setting.step_size, compressor=setting.compressor,
            error_feedback=setting.error_feedback,
        )  # fmt: skip
        data = torch.randn(shape, generator=generator)
        chains = PersistentChains(sampler, data, rng=eff.Key(seed))
        optimiser = torch.optim.Adam(energy.parameters(), lr=0.05)
        values = []
        for _ in range(scale.learned_updates):
            chains.advance(round(1 / setting.step_size))
            data.normal_(generator=generator)
            optimiser.zero_grad()
            loss = contrastive_divergence(energy(data), energy(chains.x)).loss
            loss.backward()
            optimiser.step()
            values.append(energy.log_precision.exp().item())
        half = values[len(values) // 2 :]
        found.append(sum(half) / len(half))
    precision = torch.tensor(found, dtype=torch.float64)
    expected = None if setting.error_feedback else row_law(setting.compressor, dim).var()
    return {
        "chain": setting.name(dim), "feedback": setting.error_feedback,
        "step_size": setting.step_size, "precision": mean(precision), "per_seed": found,
        "precision_expected": expected,
        "excess": mean(torch.tensor([forms.excess_cross_entropy(p) for p in found])),
        "excess_expected": None if expected is None else forms.excess_cross_entropy(expected),
    }  # fmt: skip
