"""Training an energy by persistent contrastive divergence with compressed Langevin chains."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from effebm_ext.batches import RowsByClass, spread_labels
from effebm_ext.compressors import parse_compressor
from effebm_ext.config import TrainConfig
from effebm_ext.data import Dataset
from effebm_ext.energies import make_energy, per_chain
from effebm_ext.evaluation.hook import cross_entropy_hook
from effebm_ext.limits import parse_clip
from effebm_ext.losses.contrastive import contrastive_divergence
from effebm_ext.rng import Key
from effebm_ext.samplers import Langevin
from effebm_ext.walkers.persistent import PersistentChains
from effebm_ext.walkers.replay import ReplayBuffer
from effebm_ext.walkers.restart import Restart


class NonFiniteError(RuntimeError):
    """Training met an energy, a loss or a gradient that is not finite, and stopped."""


Hook = Callable[["Trainer"], dict[str, float]]


class Trainer:
    """Algorithm 1 of EFF-EBM: move the persistent chains, then step the parameters along
    ``mean E(data) - mean E(chains)``.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``, given the chains' energy_kwargs.
        optimizer: any torch optimiser of the energy's parameters.
        chains: move by this energy.
        data: ``(n, *event)``, on the device of the energy.
        batch_size: rows of data per iteration, drawn with replacement.
        langevin_steps: steps of the chains per iteration.
        data_noise: standard deviation of Gaussian noise added to the data.
        energy_l2: weight of the squared energies in the loss.
        max_grad_norm: larger gradients of the parameters are scaled down to this norm.
        schedule: of the optimiser's learning rate, stepped once per iteration.
        ema: moving average of the energy's parameters, updated once per iteration.
        generator: CPU generator of the batches and the data noise.
        labels: of the data, int64 ``(n,)`` on the CPU, passed to the energy as ``y``. Batches are
            then drawn with the labels that the chains have in their energy_kwargs: were some class
            rarer among the chains than in the data, its energy would fall without end.
        hook: called with the trainer after every ``hook_every`` iterations; what it returns joins
            the metrics, under names of its own. It must not change the trainer; what it draws from
            torch's default CPU generator is given back.
        hook_every: iterations, at least 1.

    Raises:
        ValueError: hook_every is below 1.
    """

    def __init__(
        self,
        energy: nn.Module,
        optimizer: torch.optim.Optimizer,
        chains: PersistentChains | ReplayBuffer,
        data: Tensor,
        *,
        batch_size: int,
        langevin_steps: int,
        data_noise: float = 0.0,
        energy_l2: float = 0.0,
        max_grad_norm: float = math.inf,
        schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
        ema: AveragedModel | None = None,
        generator: torch.Generator | None = None,
        labels: Tensor | None = None,
        hook: Hook | None = None,
        hook_every: int = 1,
    ) -> None:
        if hook_every < 1:
            raise ValueError(f"hook_every: expected at least 1, got {hook_every}")
        self.energy, self.optimizer, self.chains, self.data = energy, optimizer, chains, data
        self.batch_size, self.langevin_steps = batch_size, langevin_steps
        self.data_noise, self.energy_l2 = data_noise, energy_l2
        self.max_grad_norm, self.schedule, self.ema = max_grad_norm, schedule, ema
        self.generator = torch.default_generator if generator is None else generator
        self.rows_by_class = None if labels is None else RowsByClass(labels)
        self.hook, self.hook_every = hook, hook_every
        self.iterations = 0

    @property
    def model(self) -> nn.Module:
        """The energy that was learnt: that of the averaged parameters where they are kept."""
        return self.energy if self.ema is None else self.ema.module

    def iteration(self) -> dict[str, float]:
        """One iteration; what it saw: energies, their gap (samples minus data), gradient norm, and
        what the hook returns.

        Raises:
            NonFiniteError: one of these is not finite. The parameters are then those of the
                iteration before.
        """
        self.iterations += 1
        self.chains.advance(self.langevin_steps)
        batch, labels = self._batch()
        state = self.chains.state
        data_energy = per_chain(self.energy(batch, **labels), len(batch))
        sample_energy = per_chain(self.energy(state.x, **state.energy_kwargs), len(state.x))
        loss, gap = contrastive_divergence(data_energy, sample_energy, energy_l2=self.energy_l2)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.energy.parameters(), self.max_grad_norm)
        metrics = {
            "energy_gap": float(gap),
            "data_energy": float(data_energy.detach().mean()),
            "sample_energy": float(sample_energy.detach().mean()),
            "loss": float(loss.detach()),
            "grad_norm": float(norm),
        }
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise NonFiniteError(f"iteration {self.iterations}: {name} is {value}")
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        if self.ema is not None:
            self.ema.update_parameters(self.energy)
        if self.hook is not None and self.iterations % self.hook_every == 0:
            with torch.random.fork_rng(devices=[]):  # the run may draw from it too
                metrics |= self.hook(self)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes while training, for :func:`effebm_ext.checkpoint.save`."""
        return {
            "iterations": self.iterations,
            "energy": self.energy.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "generator": self.generator.get_state(),
            "chains": self.chains.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where :meth:`state_dict` was taken, to the bit: parameters, optimiser, learning
        rate, chains with their residuals and noise position, order of the data.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: the state is of another kind of run.
        """
        self.chains.load_state_dict(state["chains"])
        self.energy.load_state_dict(state["energy"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.generator.set_state(state["generator"])
        self.iterations = state["iterations"]

    def _batch(self) -> tuple[Tensor, dict[str, Tensor]]:
        labels = {}
        if self.rows_by_class is None:
            rows = torch.randint(len(self.data), (self.batch_size,), generator=self.generator)
        else:
            y = self.chains.state.energy_kwargs["y"].cpu()
            order = torch.randperm(len(y), generator=self.generator)
            y = y[order[torch.arange(self.batch_size) % len(y)]]
            rows = self.rows_by_class.draw(y, self.generator)
            labels["y"] = y.to(self.data.device)
        batch = self.data[rows.to(self.data.device)]
        if self.data_noise:
            noise = torch.randn(batch.shape, generator=self.generator)
            batch = batch + self.data_noise * noise.to(batch)
        return batch, labels


def make_sampler(config: TrainConfig, energy: nn.Module) -> Langevin:
    """The Langevin sampler that a resolved configuration describes."""
    compressor = parse_compressor(config.compressor)
    return Langevin(
        energy,
        step_size=config.step_sizes(),
        compressor=compressor,
        error_feedback=config.error_feedback and compressor is not None,
        clip=parse_clip(config.clip),
    )


def make_trainer(config: TrainConfig, dataset: Dataset, *, hook: Hook | None = None) -> Trainer:
    """A trainer as the command line builds it: Adam with beta_1 = 0, chains that start from
    Gaussian noise of the data's mean and standard deviation, with labels as frequent as in the data
    if the run is conditional.

    Args:
        config: what the run depends on.
        dataset: all of the data; the trainer sees the rows that are not held out.
        hook: called every ``config.evaluate_every`` iterations (never if that is 0); None: the
            cross-entropy, :func:`effebm_ext.evaluation.hook.cross_entropy_hook`.

    Raises:
        ValueError: the run is conditional and the data have no labels; the compressor does not fit
            the data (k > d), or the energy does not; the device is unknown or not available.
    """
    config = config.resolved(is_image=dataset.is_image)
    if config.conditional and dataset.labels is None:
        raise ValueError("conditional: expected data with labels, see load(..., labels=True)")
    train = dataset.split(config.holdout, seed=config.seed)[0]
    data, labels = train.x, train.labels if config.conditional else None
    generator = torch.Generator().manual_seed(config.seed)
    device = _device(config.device)
    with torch.random.fork_rng(devices=[]):  # parameters draw from the CPU's default generator
        torch.default_generator.manual_seed(config.seed)
        n_classes = dataset.n_classes if config.conditional else None
        energy = make_energy(config.energy, dataset.event_shape, n_classes).to(device)
    assert config.data_noise is not None
    compressor = parse_compressor(config.compressor)
    if compressor is not None:
        compressor.kernel_arguments(torch.empty(1, *dataset.event_shape))
    optimizer = torch.optim.Adam(energy.parameters(), lr=config.learning_rate, betas=(0.0, 0.999))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, config.learning_rate_share)
    ema = None
    if config.ema_decay:
        ema = AveragedModel(energy, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
    mean, std = data.mean(), data.std(correction=0)

    def fresh(n: int) -> Tensor:
        return mean + std * torch.randn((n, *dataset.event_shape), generator=generator)

    def fresh_kwargs(n: int) -> dict[str, Tensor]:
        if labels is None:
            return {}
        return {"y": labels[torch.randint(len(labels), (n,), generator=generator)]}

    chains: PersistentChains | ReplayBuffer
    sampler, key = make_sampler(config, energy), Key(config.seed)
    restart = None
    if config.restart_probability:
        restart = Restart(config.restart_probability, fresh, generator, fresh_kwargs)
    size = config.buffer_size or config.chains
    x0, kwargs = fresh(size).to(device), {}
    if labels is not None:
        kwargs = {"y": spread_labels(labels, size, generator).to(device)}
    options: dict[str, Any] = {"rng": key, "restart": restart, "energy_kwargs": kwargs}
    if config.buffer_size:
        chains = ReplayBuffer(sampler, x0, n_chains=config.chains, generator=generator, **options)
    else:
        chains = PersistentChains(sampler, x0, **options)
    return Trainer(
        energy,
        optimizer,
        chains,
        data.to(device),
        batch_size=config.batch_size,
        langevin_steps=config.langevin_steps,
        data_noise=config.data_noise,
        energy_l2=config.energy_l2,
        max_grad_norm=config.max_grad_norm,
        schedule=schedule,
        ema=ema,
        generator=generator,
        labels=labels,
        hook=(hook or cross_entropy_hook(config, dataset)) if config.evaluate_every else None,
        hook_every=config.evaluate_every or 1,
    )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device: {name!r} is unknown or not available: {reason}") from error
    return device
