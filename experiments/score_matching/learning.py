"""Digits learnt by score matching, with and without finite differences: curves against the clock,
samples, and what the energy finds unlikely."""

from __future__ import annotations

import dataclasses
import time

import torch
from torch import Tensor

import effebm_ext as eff
from effebm_ext import losses
from effebm_ext.energies import denoise, score_of
from effebm_ext.evaluation import auroc
from effebm_ext.rng import generator_for
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.evaluation.ood import out_of_distribution
from effebm_ext.runs.trainer import make_trainer
from effebm_ext.training import Trainer
from experiments.common.records import Row

METHODS = ("ssm", "fd-ssm", "dsm", "fd-dsm")
OTHERS = ("permuted", "noise")


@dataclasses.dataclass(frozen=True)
class Scale:
    """All learn the density of digits plus noise of ``config.data_noise``: sliced score matching
    from noisy data, denoising from its own noise. So one yardstick fits all. The chains move
    once, at the end."""

    config: TrainConfig
    evaluate_every: int = 200
    test_rows: int = 200
    sample_steps: int = 5000


FULL = Scale(
    TrainConfig(data_noise=0.3, iterations=4000, checkpoint_every=4000, langevin_steps=1, chains=8)
)
QUICK = Scale(
    TrainConfig(data_noise=0.3, iterations=4, checkpoint_every=4, langevin_steps=1, chains=2,
                batch_size=8),
    evaluate_every=2, test_rows=8, sample_steps=3,
)  # fmt: skip


def held_out(config: TrainConfig, dataset: Dataset) -> Tensor:
    """Digits of the run's test split plus noise, the same for every method."""
    clean = dataset.split(config.holdout, seed=config.seed)[1].x
    generator = generator_for("yardstick", config.seed)
    assert config.data_noise is not None
    return clean + config.data_noise * torch.randn(clean.shape, generator=generator)


def train(config: TrainConfig, dataset: Dataset, scale: Scale) -> tuple[Trainer, list[Row]]:
    """The exact loss of score matching on held-out digits, as training goes on; the seconds are of
    training alone."""
    trainer, test = make_trainer(config, dataset), held_out(config, dataset)[: scale.test_rows]
    spent, curve = 0.0, []
    for iteration in range(config.iterations + 1):
        if iteration % scale.evaluate_every == 0:
            loss = losses.sm(score_of(trainer.model), test).loss
            curve.append({"iteration": iteration, "seconds": spent, "sm": float(loss.detach())})
        if iteration < config.iterations:
            begin = time.perf_counter()
            trainer.iteration()
            spent += time.perf_counter() - begin
    return trainer, curve


def ood(trainer: Trainer, config: TrainConfig, dataset: Dataset) -> dict[str, float]:
    """AUROC by which the energy tells held-out digits from other rows, all with noise."""
    test, generator = held_out(config, dataset), generator_for("ood", config.seed)
    clean = dataset.split(config.holdout, seed=config.seed)[1].x
    assert config.data_noise is not None
    found = {}
    for source in OTHERS:
        other = out_of_distribution(source, clean, seed=config.seed)(generator)
        other = other + config.data_noise * torch.randn(other.shape, generator=generator)
        with torch.no_grad():
            found[source] = auroc(trainer.model(test), trainer.model(other))
    return found


def samples(trainer: Trainer, config: TrainConfig, dataset: Dataset, steps: int) -> Tensor:
    """64 chains from noise, without the data noise."""
    noise = torch.randn(64, *dataset.event_shape, generator=generator_for("start", config.seed))
    sampler = eff.Langevin(trainer.model, step_size=0.02)
    x = sampler.sample(dataset.x.mean() + dataset.x.std() * noise, steps, rng=eff.Key(config.seed))
    assert config.data_noise is not None
    return denoise(trainer.model, x, config.data_noise)


def measure(dataset: Dataset, seeds: int, quick: bool) -> tuple[list[Row], dict[str, Tensor]]:
    """A row for every run, and samples of the first seed's models by their methods."""
    scale = QUICK if quick else FULL
    rows, drawn = [], {}
    for seed in range(seeds):
        for method in METHODS:
            config = dataclasses.replace(scale.config, objective=method, seed=seed)
            trainer, curve = train(config, dataset, scale)
            found = ood(trainer, config, dataset)
            rows.append({"method": method, "seed": seed, "curve": curve, "auroc": found})
            if seed == 0 and method.startswith("fd-"):
                drawn[method] = samples(trainer, config, dataset, scale.sample_steps)
    return rows, drawn
