"""What a trainer needs of a method of training."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from effebm_ext.samplers import LangevinState, Sampler, StepInfo


class Chains(Protocol):
    """Particles that live as long as a training run: persistent chains, weighted walkers, ..."""

    @property
    def state(self) -> LangevinState:
        """Where they are; what samples are drawn from later."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes, for a checkpoint; at least what
        :meth:`effebm_ext.samplers.LangevinState.state_dict` has."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where :meth:`state_dict` was taken."""


class Loss(NamedTuple):
    """``value``: a scalar whose gradient moves the parameters. ``metrics``: what else was seen,
    scalars by name; they are checked to be finite, and logged."""

    value: Tensor
    metrics: dict[str, Tensor]


class Objective(Protocol):
    """A method of training: what is minimised, and how the chains follow.

    A trainer calls :meth:`advance`, draws a batch, moves the parameters along the gradient of
    :meth:`loss`, and calls :meth:`parameters_moved`.
    """

    @property
    def chains(self) -> Chains | None:
        """The chains that samples are drawn from later; None if the objective has none."""

    @property
    def labels(self) -> Tensor | None:
        """Of a conditional run: the classes, int64 ``(m,)``, that batches must have in the same
        proportions; None: they are those of the data."""

    def advance(self) -> None:
        """Moves the chains by the energy as it is."""

    def loss(self, data: Tensor, labels: dict[str, Tensor]) -> Loss:
        """Of a batch ``(n, *event)`` and what the energy is given with it, ``y`` of a conditional
        run or nothing."""

    def parameters_moved(self) -> dict[str, float]:
        """Brings the chains up to the new parameters; more metrics."""


def chain_metrics(sampler: Sampler[Any], info: StepInfo) -> dict[str, Tensor]:
    """What the steps of ``info`` say of the chains: ``n_diverged`` chains diverged (left out if the
    sampler raises an error for them); ``acceptance``, the mean of adjusted steps."""
    metrics = {}
    if sampler.on_divergence != "raise":
        n_diverged = torch.zeros(()) if info.diverged is None else info.diverged.sum()
        metrics["n_diverged"] = n_diverged
    if info.acceptance is not None:
        metrics["acceptance"] = info.acceptance.mean()
    return metrics
