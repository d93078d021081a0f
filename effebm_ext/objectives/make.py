"""Objectives and samplers as configurations describe them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from effebm_ext.batches import spread_labels
from effebm_ext.compressors import parse_compressor
from effebm_ext.config import SCORE_MATCHING, TrainConfig
from effebm_ext.limits import parse_clip
from effebm_ext.objectives.contrastive import Contrastive
from effebm_ext.objectives.jarzynski import Jarzynski
from effebm_ext.objectives.objective import Objective
from effebm_ext.objectives.particle import ParticleDynamics
from effebm_ext.objectives.score_matching import ScoreMatching
from effebm_ext.rng import Key, key_for
from effebm_ext.samplers import MALA, Langevin
from effebm_ext.samplers.divergence import OnDivergence
from effebm_ext.walkers.intermittent import IntermittentChains
from effebm_ext.walkers.persistent import PersistentChains
from effebm_ext.walkers.replay import ReplayBuffer
from effebm_ext.walkers.restart import Restart
from effebm_ext.walkers.weighted import WeightedWalkers


@dataclasses.dataclass(frozen=True)
class Setting:
    """What objectives are made of: a resolved configuration, an energy on its device, the data
    ``(n, *event)`` to train on with their labels where the run is conditional (both on the CPU),
    and the run's generator."""

    config: TrainConfig
    energy: nn.Module
    data: Tensor
    labels: Tensor | None
    generator: torch.Generator

    @property
    def device(self) -> torch.device:
        """Of the energy."""
        return next(self.energy.parameters()).device

    def fresh(self, n: int) -> Tensor:
        """Gaussian noise ``(n, *event)`` of the data's mean and standard deviation."""
        shape = (n, *self.data.shape[1:])
        noise = torch.randn(shape, generator=self.generator)
        return self.data.mean() + self.data.std(correction=0) * noise

    def fresh_kwargs(self, n: int) -> dict[str, Tensor]:
        """``y``: labels as frequent as in the data; nothing if the run is not conditional."""
        if self.labels is None:
            return {}
        return {"y": self.labels[torch.randint(len(self.labels), (n,), generator=self.generator)]}

    def chains(self) -> PersistentChains | ReplayBuffer:
        """Chains from noise."""
        config = self.config
        restart = None
        if config.restart_probability:
            restart = Restart(
                config.restart_probability, self.fresh, self.generator, self.fresh_kwargs
            )
        size = config.buffer_size or config.chains
        x0, kwargs = self.fresh(size).to(self.device), {}
        if self.labels is not None:
            kwargs = {"y": spread_labels(self.labels, size, self.generator).to(self.device)}
        sampler = make_sampler(config, self.energy)
        options: dict[str, Any] = {
            "rng": Key(config.seed),
            "restart": restart,
            "energy_kwargs": kwargs,
        }
        if config.buffer_size:
            return ReplayBuffer(
                sampler, x0, n_chains=config.chains, generator=self.generator, **options
            )
        return PersistentChains(sampler, x0, **options)


def gaussian_base(config: TrainConfig, data: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of all elements of the data with their noise."""
    assert config.data_noise is not None
    return float(data.mean()), math.hypot(float(data.std(correction=0)), config.data_noise)


def make_sampler(config: TrainConfig, energy: nn.Module) -> Langevin:
    """The Langevin sampler that a resolved configuration describes.

    After objective jarzynski it does not compress: what weights have corrected in training, nothing
    would correct in samples.
    """
    assert config.compressor is not None
    name = "none" if config.objective == "jarzynski" else config.compressor
    compressor = parse_compressor(name)
    return Langevin(
        energy,
        step_size=config.step_sizes(),
        compressor=compressor,
        error_feedback=bool(config.error_feedback) and compressor is not None,
        clip=parse_clip(config.clip),
        on_divergence=cast(OnDivergence, config.on_divergence),
    )


def _energy_l2(config: TrainConfig) -> float:
    assert config.energy_l2 is not None  # a resolved configuration of an objective that has it
    return config.energy_l2


def _contrastive(setting: Setting) -> Contrastive:
    return Contrastive(
        setting.energy,
        setting.chains(),
        langevin_steps=setting.config.langevin_steps,
        energy_l2=_energy_l2(setting.config),
    )


def _particle(setting: Setting) -> ParticleDynamics:
    chains = setting.chains()
    assert isinstance(chains, PersistentChains)  # a configuration has no buffer_size with it
    return ParticleDynamics(
        setting.energy,
        chains,
        langevin_steps=setting.config.langevin_steps,
        move=setting.config.particle_move,
        corrected=setting.config.step_correction,
        energy_l2=_energy_l2(setting.config),
    )


def _score_matching(setting: Setting) -> ScoreMatching:
    config = setting.config
    return ScoreMatching(
        setting.energy,
        IntermittentChains(setting.chains(), config.chains_move_every),
        config.objective,
        key=key_for("score matching", config.seed),
        langevin_steps=config.langevin_steps,
        sigma=config.data_noise,
        sigma_end=config.noise_end or None,
        **({} if config.fd_epsilon is None else {"epsilon": config.fd_epsilon}),
    )


def _jarzynski(setting: Setting) -> Jarzynski:
    config = setting.config
    assert config.compressor is not None
    kind = MALA if config.adjusted else Langevin
    sampler = kind(
        setting.energy,
        step_size=config.step_sizes(),
        compressor=parse_compressor(config.compressor),
        clip=parse_clip(config.clip),
    )
    mean, std = gaussian_base(config, setting.data)
    noise = torch.randn((config.chains, *setting.data.shape[1:]), generator=setting.generator)
    half_squares = noise.double().square().flatten(1).sum(1) / 2
    volume = noise[0].numel() * math.log(math.sqrt(2 * math.pi) * std)
    walkers = WeightedWalkers(
        sampler,
        (mean + std * noise).to(setting.device),
        (-half_squares - volume).to(setting.device),
        rng=Key(config.seed),
        moved=config.moved_chains,
        resampling=config.resampling,
        resample_threshold=config.resample_threshold,
        on_divergence=cast(OnDivergence, config.on_divergence),
    )
    return Jarzynski(
        setting.energy,
        walkers,
        langevin_steps=config.langevin_steps,
        energy_l2=_energy_l2(config),
    )


_MAKERS: dict[str, Callable[[Setting], Objective]] = {
    "contrastive": _contrastive,
    "particle": _particle,
    **dict.fromkeys(SCORE_MATCHING, _score_matching),
    "jarzynski": _jarzynski,
}


def make_objective(setting: Setting) -> Objective:
    """The objective that the configuration names.

    Raises:
        ValueError: the compressor does not fit the data (k > d), or the energy does not.
    """
    config = setting.config
    assert config.compressor is not None
    compressor = parse_compressor(config.compressor)
    if compressor is not None:
        compressor.kernel_arguments(torch.empty(1, *setting.data.shape[1:]))
    return _MAKERS[config.objective](setting)
