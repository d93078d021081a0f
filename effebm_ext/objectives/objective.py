"""The protocols that a trainer relies on: objectives and their chains."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from effebm_ext.samplers import LangevinState, Sampler, StepInfo
from effebm_ext.scalars import as_int


class Chains(Protocol):
    """Chains that live as long as a training run, such as persistent chains or weighted walkers."""

    @property
    def state(self) -> LangevinState:
        """The state of the chains, from which samples are drawn later."""

    @property
    def samples(self) -> Tensor:
        """The chains as samples of the model, ``(n_chains, *event)``."""

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that changes, for a checkpoint; at least what
        :meth:`effebm_ext.samplers.LangevinState.state_dict` returns."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from where :meth:`state_dict` was taken."""


class Loss(NamedTuple):
    """``value`` is a scalar whose gradient moves the parameters. ``metrics`` are further scalars by
    name; they are checked to be finite, and logged."""

    value: Tensor
    metrics: dict[str, Tensor]


class Objective(Protocol):
    """A method of training: it has a loss to minimise and moves its chains.

    A trainer calls :meth:`advance`, draws a batch, moves the parameters along the gradient of
    :meth:`loss`, and calls :meth:`parameters_moved`.
    """

    @property
    def chains(self) -> Chains | None:
        """The chains that samples are drawn from later; None if the objective has none."""

    @property
    def labels(self) -> Tensor | None:
        """In a conditional run, classes, int64 ``(m,)``, whose proportions batches must have; None:
        batches have the proportions of the data."""

    def advance(self) -> None:
        """Moves the chains by the present energy."""

    def loss(self, data: Tensor, labels: dict[str, Tensor]) -> Loss:
        """Returns the loss of a batch ``(n, *event)``; ``labels`` are the energy's further
        arguments: ``y`` in a conditional run, else nothing."""

    def parameters_moved(self) -> dict[str, float]:
        """Updates the chains to the new parameters; returns more metrics."""


def checked_langevin_steps(langevin_steps: int, at_least: int = 1) -> int:
    """Refuses steps of an iteration that would leave chains where they are."""
    langevin_steps = as_int(langevin_steps, "langevin_steps")
    if langevin_steps < at_least:
        raise ValueError(f"langevin_steps: expected at least {at_least}, got {langevin_steps}")
    return langevin_steps


def chain_metrics(sampler: Sampler[Any], info: StepInfo) -> dict[str, Tensor]:
    """Returns metrics of the steps of ``info``: ``n_diverged``, the number of chains that diverged
    (left out if the sampler raises an error for them), the mean ``acceptance`` of adjusted steps,
    and the mean ``virial`` of the chains in which it is finite, if the sampler finds it."""
    metrics = {}
    if sampler.on_divergence != "raise":
        n_diverged = torch.zeros(()) if info.diverged is None else info.diverged.sum()
        metrics["n_diverged"] = n_diverged
    if info.acceptance is not None:
        metrics["acceptance"] = info.acceptance.mean()
    if info.virial is not None:
        finite = info.virial.isfinite()
        if bool(finite.any()):
            metrics["virial"] = info.virial[finite].mean()
    return metrics


class Watched:
    """An energy that keeps the values ``(n,)`` or ``(n, 1)`` that it returned last, with their
    graph; None before the first."""

    def __init__(self, energy: nn.Module) -> None:
        self.energy = energy
        self.values: Tensor | None = None

    def __call__(self, x: Tensor, **energy_kwargs: Any) -> Tensor:
        values: Tensor = self.energy(x, **energy_kwargs)
        self.values = values
        return values

    def mean(self) -> Tensor:
        """Returns the mean of the last values, without a graph; 0 before the first."""
        return torch.zeros(()) if self.values is None else self.values.detach().mean()
