"""The training loop, whatever the objective."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from effebm_ext.batches import RowsByClass
from effebm_ext.energies import NonFiniteError
from effebm_ext.objectives import Chains, Objective
from effebm_ext.rows import Rows
from effebm_ext.samplers import LangevinState
from effebm_ext.shown import as_call

Hook = Callable[["Trainer"], dict[str, float]]


class Trainer:
    """Moves the parameters of an energy along the gradient of an objective, and keeps what a run
    needs to go on.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``.
        optimizer: any torch optimiser of the energy's parameters.
        objective: what is minimised, with its chains (:mod:`effebm_ext.objectives`).
        data: ``(n, *event)``, on the device of the energy: a tensor, or rows that become float32
            where they are taken (:class:`effebm_ext.rows.StoredRows`).
        batch_size: rows of data per iteration, drawn with replacement.
        data_noise: standard deviation of Gaussian noise added to the data.
        max_grad_norm: larger gradients of the parameters are scaled down to this norm.
        schedule: schedule of the optimiser's learning rate, stepped once per iteration.
        ema: moving average of the energy's parameters, updated once per iteration.
        generator: CPU generator of the batches and the data noise.
        labels: the labels of the data, int64 ``(n,)`` on the CPU, passed to the energy as ``y``.
            Batches have the classes that the objective asks for.
        hook: called with the trainer after every ``hook_every`` iterations. The numbers that it
            returns join the metrics and must have names of their own. It must not change the
            trainer; torch's default CPU generator is restored after it.
        hook_every: iterations from one call of the hook to the next, at least 1.

    Raises:
        ValueError: hook_every is below 1.
    """

    def __init__(
        self,
        energy: nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        data: Rows,
        *,
        batch_size: int,
        data_noise: float = 0.0,
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
        self.energy, self.optimizer, self.objective = energy, optimizer, objective
        self.data, self.batch_size, self.data_noise = data, batch_size, data_noise
        self.max_grad_norm, self.schedule, self.ema = max_grad_norm, schedule, ema
        self.generator = torch.default_generator if generator is None else generator
        self.labels = labels
        self.rows_by_class = None if labels is None else RowsByClass(labels)
        self.hook, self.hook_every = hook, hook_every
        self.iterations = 0

    __repr__ = as_call

    @property
    def model(self) -> nn.Module:
        """The learnt energy; it has the averaged parameters if an average is kept."""
        return self.energy if self.ema is None else self.ema.module

    @property
    def chains(self) -> Chains | None:
        """The chains of the objective, or None."""
        return self.objective.chains

    @property
    def state(self) -> LangevinState:
        """The state of the chains, or a state without chains if the objective has none."""
        if self.chains is not None:
            return self.chains.state
        return LangevinState.without_chains(self.data[:0], labelled=self.labels is not None)

    @property
    def samples(self) -> Tensor:
        """The chains as samples of the model, ``(n_chains, *event)``; none if the objective has no
        chains."""
        return self.state.x if self.chains is None else self.chains.samples

    def iteration(self) -> dict[str, float]:
        """Makes one iteration and returns its metrics: the loss, the norm of its gradient, and the
        metrics of the objective and of the hook.

        Raises:
            NonFiniteError: a metric is not finite, or chains diverged whose sampler raises an error
                then. The parameters are as before the iteration, unless the error occurs after they
                moved.
        """
        self.iterations += 1
        with self._naming_the_iteration():
            self.objective.advance()
        loss, seen = self.objective.loss(*self._batch())
        self.optimizer.zero_grad()
        loss.backward()
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(trained, self.max_grad_norm)
        seen = {**seen, "loss": loss.detach(), "grad_norm": norm}
        metrics = self._finite({name: float(value) for name, value in seen.items()})
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        if self.ema is not None:
            self.ema.update_parameters(self.energy)
        with self._naming_the_iteration():
            moved = self.objective.parameters_moved()
        metrics |= self._finite(moved)
        if self.hook is not None and self.iterations % self.hook_every == 0:
            with torch.random.fork_rng(devices=[]):  # the run may use the default generator too
                metrics |= self.hook(self)
        return metrics

    @contextlib.contextmanager
    def _naming_the_iteration(self) -> Iterator[None]:
        try:
            yield
        except NonFiniteError as error:
            raise NonFiniteError(f"iteration {self.iterations}: {error}") from error

    def _finite(self, metrics: dict[str, float]) -> dict[str, float]:
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise NonFiniteError(f"iteration {self.iterations}: {name} is {value}")
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that changes while training, for a checkpoint. Energies that
        torch.compile or DataParallel wraps, and averages of them, are saved by the names that they
        have without, so that every trainer can load them."""
        return {
            "iterations": self.iterations,
            "energy": _saved(self.energy),
            "optimizer": self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "ema": None if self.ema is None else _saved(self.ema),
            "generator": self.generator.get_state(),
            "chains": None if self.chains is None else self.chains.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from where :meth:`state_dict` was taken, to the bit: parameters, optimiser,
        learning rate, chains with their residuals, noise position and generators, and the order of
        the data.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: the state belongs to another kind of run.
        """
        if self.chains is not None:
            self.chains.load_state_dict(state["chains"])
        _load(self.energy, state["energy"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        if self.ema is not None:
            _load(self.ema, state["ema"])
        self.generator.set_state(state["generator"])
        self.iterations = state["iterations"]

    def _batch(self) -> tuple[Tensor, dict[str, Tensor]]:
        wanted = None if self.rows_by_class is None else self.objective.labels
        if self.rows_by_class is None or wanted is None:
            rows = torch.randint(len(self.data), (self.batch_size,), generator=self.generator)
        else:
            y = wanted.cpu()
            order = torch.randperm(len(y), generator=self.generator)
            y = y[order[torch.arange(self.batch_size) % len(y)]]
            rows = self.rows_by_class.draw(y, self.generator)
        labels = {}
        if self.labels is not None:
            labels["y"] = self.labels[rows].to(self.data.device)
        batch = self.data[rows.to(self.data.device)]
        if self.data_noise:
            noise = torch.randn(batch.shape, generator=self.generator)
            batch = batch + self.data_noise * noise.to(batch)
        return batch, labels


def _saved(module: nn.Module) -> dict[str, Any]:
    """Returns the state of a module by the names that it has without :func:`_plain`'s wrappers."""
    state = module.state_dict()
    return _renamed(state, {name: _plain(module, name) for name in state})


def _load(module: nn.Module, saved: dict[str, Any]) -> None:
    """Reverses :func:`_saved`, whatever is wrapped in the module; the module's own names do too."""
    names = {_plain(module, name): name for name in module.state_dict()}
    module.load_state_dict(_renamed(copy.copy(saved), names))


def _renamed(state: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Renames in place, so that torch's notes of versions stay with the state."""
    for name in list(state):
        state[names.get(name, name)] = state.pop(name)
    return state


def _plain(module: nn.Module | None, name: str) -> str:
    """Returns the name of a tensor of a module without the parts that are due to torch.compile,
    DataParallel and DistributedDataParallel."""
    parts = []
    for part in name.split("."):
        parallel = isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel))
        if part != "_orig_mod" and not (parallel and part == "module"):
            parts.append(part)
        module = getattr(module, part, None)  # a tensor or an extra state may be no attribute
    return ".".join(parts)
