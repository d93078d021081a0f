"""Chains that rest most of the time: the training does not need them, only samples do."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.samplers import LangevinState, Sampler, StepInfo
from effebm_ext.scalars import as_int
from effebm_ext.shown import as_call


class IntermittentChains:
    """Moves its chains every ``period``-th time :meth:`advance` is called, after it has left out
    ``rest`` calls.

    Args:
        chains: the chains that are moved.
        period: calls from one move to the next, at least 1.
        rest: calls in the beginning that move no chain, at least 0.

    Raises:
        ValueError: period is below 1, or rest is negative.
    """

    def __init__(
        self, chains: PersistentChains | ReplayBuffer, period: int, *, rest: int = 0
    ) -> None:
        period, rest = as_int(period, "period"), as_int(rest, "rest")
        if period < 1:
            raise ValueError(f"period: expected at least 1, got {period}")
        if rest < 0:
            raise ValueError(f"rest: expected at least 0, got {rest}")
        self.chains, self.period, self.rest = chains, period, rest
        self.calls = 0

    __repr__ = as_call

    @property
    def sampler(self) -> Sampler[Any]:
        """The sampler of the chains."""
        return self.chains.sampler

    @property
    def state(self) -> LangevinState:
        """The state of the chains."""
        return self.chains.state

    @property
    def samples(self) -> Tensor:
        """The chains as samples of the model, ``(n_chains, *event)``
        (:meth:`effebm_ext.samplers.Sampler.samples`)."""
        return self.chains.samples

    def advance(self, n_steps: int) -> StepInfo | None:
        """Moves the chains by ``n_steps`` Langevin steps if it is their turn, else returns None."""
        self.calls += 1
        moving = self.calls - self.rest
        return self.chains.advance(n_steps) if moving > 0 and moving % self.period == 0 else None

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that changes, for :meth:`load_state_dict`."""
        return {**self.chains.state_dict(), "calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from where :meth:`state_dict` was taken.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: the state belongs to other chains.
        """
        calls = state["calls"]
        self.chains.load_state_dict(state)
        self.calls = calls
