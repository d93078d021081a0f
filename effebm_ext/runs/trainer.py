"""Trainers and samplers as configurations describe them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from effebm_ext.objectives import Objective
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.evaluation.hook import cross_entropy_hook
from effebm_ext.runs.methods.setting import Setting, device_of, gaussian_of, langevin
from effebm_ext.runs.options.energy import energy_of
from effebm_ext.samplers import Langevin
from effebm_ext.training import Hook, Trainer


def make_dataset(config: TrainConfig) -> Dataset:
    """Loads the data that a configuration describes, with their labels if the run is conditional.

    Raises:
        FileNotFoundError, ValueError: as :func:`effebm_ext.runs.data.dataset.load`.
    """
    return load(
        config.data,
        seed=config.seed_of_data,
        labels=config.conditional,
        resize=config.resize,
        background=config.background,
    )


def make_trainer(config: TrainConfig, dataset: Dataset, *, hook: Hook | None = None) -> Trainer:
    """Makes a trainer as the command line does: with Adam with beta_1 = 0, or SGD; with chains that
    start as ``config.init`` says. If the run is conditional, they have labels as frequent as in the
    data, but every class has a chain if there are enough. If there are too few, and the run does
    not learn some classes for this reason, a RuntimeWarning names them.

    Args:
        config: the configuration of the run.
        dataset: all of the data; the trainer sees the rows that are not held out.
        hook: called every ``config.evaluate_every`` iterations (never if that is 0); None: the
            cross-entropy, :func:`effebm_ext.runs.evaluation.hook.cross_entropy_hook`.

    Raises:
        FileNotFoundError: ``config.init`` names no file.
        ValueError: the run is conditional and the data have no labels, or a class has all of its
            rows held out, or the chains start at rows of a file; such rows are not like the data;
            the compressor does not fit the data (k > d), or the energy does not; a device is
            unknown or not available.
        effebm_ext.runs.options.energy.OwnEnergyError: the class that ``config.energy`` names cannot
            be imported or used.
    """
    config = config.resolved(dataset.kind)
    if config.conditional and dataset.labels is None:
        raise ValueError("conditional: expected data with labels, see load(..., labels=True)")
    train = dataset.split(config.holdout, seed=config.seed_of_data)[0]
    data, labels = train.rows, train.labels if config.conditional else None
    if labels is not None and len(labels.unique()) != dataset.n_classes:
        raise ValueError(
            f"holdout: expected data of all {dataset.n_classes} classes to train on, got "
            f"{len(labels.unique())}: a class without data cannot be learnt"
        )
    generator = torch.Generator().manual_seed(config.seed)
    device = device_of(config.device, "device")
    with torch.random.fork_rng(devices=[]):  # parameters are drawn from the default generator
        torch.default_generator.manual_seed(config.seed)
        n_classes = dataset.n_classes if config.conditional else None
        base = gaussian_of(config, data) if config.base == "gaussian" else None
        energy = energy_of(config, dataset.event_shape, n_classes, base).to(device)
    optimizer = _optimizer(config, energy)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, config.learning_rate_share)
    ema = None
    if config.ema_decay:
        ema = AveragedModel(energy, multi_avg_fn=Average(config.ema_decay))
    adds_noise = config.method.adds_noise(config.method.own(config))
    setting = Setting(
        config, energy, data, labels, generator, config.step_sizes(), config.chains_move_every
    )
    return Trainer(
        energy,
        optimizer,
        make_objective(config, setting),
        data.to(device),
        batch_size=config.batch_size,
        data_noise=0.0 if adds_noise else config.data_noise,
        max_grad_norm=config.max_grad_norm or math.inf,
        schedule=schedule,
        ema=ema,
        generator=generator,
        labels=labels,
        hook=(hook or cross_entropy_hook(config, dataset)) if config.evaluate_every else None,
        hook_every=config.evaluate_every or 1,
    )


def make_objective(config: TrainConfig, setting: Setting) -> Objective:
    """Makes the objective that the configuration names.

    Raises:
        ValueError: the compressor does not fit the data (k > d), or the energy does not.
    """
    if config.chain_compressor is not None:
        config.chain_compressor.kernel_arguments(torch.empty(1, *setting.data.shape[1:]))
    return config.method.make(setting, config.method.own(config))


def make_sampler(config: TrainConfig, energy: nn.Module) -> Langevin:
    """Makes the Langevin sampler that draws samples of a trained energy, from a resolved
    configuration."""
    compressed = config.method.compresses_samples
    return langevin(config, energy, config.step_sizes(), compressed=compressed)


@dataclasses.dataclass(frozen=True)
class Average:
    """Updates a moving average of parameters, as torch's function, which cannot be pickled."""

    decay: float

    def __call__(self, averages: Any, parameters: Any, n_averaged: Any) -> None:
        get_ema_multi_avg_fn(self.decay)(averages, parameters, n_averaged)


def _optimizer(config: TrainConfig, energy: nn.Module) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(energy.parameters(), lr=config.learning_rate)
    return torch.optim.Adam(energy.parameters(), lr=config.learning_rate, betas=(0.0, 0.999))
