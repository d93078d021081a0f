"""Training walkers that are accompanied by walkers that only follow the model."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.samplers import MALA, LangevinState
from effebm_ext.samplers.proposal import LangevinProposal
from effebm_ext.shown import as_call


class AccompaniedWalkers:
    """Keeps training walkers and, beside them, followers: walkers of the same model that never
    enter a gradient. Whoever trains moves both after every change of the parameters.

    The parameters do not depend on the followers. So, given the parameters, the mean weight of the
    followers has the expectation Z exactly, whatever their number is, while that of the training
    walkers has not (:mod:`effebm_ext.chains.weighted`).

    Args:
        walkers: the training walkers.
        followers: the followers, which move by the same energy and have noise of their own.

    Raises:
        TypeError: followers are no WeightedWalkers.
        ValueError: followers are the training walkers, or have their key, their starts being then
            moved by the same noise; or there are fewer than two.
    """

    def __init__(self, walkers: WeightedWalkers, followers: WeightedWalkers) -> None:
        if not isinstance(followers, WeightedWalkers):
            raise TypeError(f"followers: expected WeightedWalkers, got {type(followers).__name__}")
        if followers is walkers:
            raise ValueError("followers: expected walkers of their own, got the training walkers")
        key = followers.walkers.key
        if key == walkers.walkers.key:
            raise ValueError(
                f"followers: expected a key of their own, got {key}, that of the training walkers"
            )
        if len(followers.log_weights) < 2:
            raise ValueError("followers: expected at least 2, for a standard error, got 1")
        self.walkers, self.followers = walkers, followers

    __repr__ = as_call

    @property
    def sampler(self) -> LangevinProposal | MALA:
        """The sampler of the training walkers."""
        return self.walkers.sampler

    @property
    def samples(self) -> Tensor:
        """The samples of the training walkers, ``(n_walkers, *event)``."""
        return self.walkers.samples

    @property
    def state(self) -> LangevinState:
        """The state of the training walkers."""
        return self.walkers.state

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the training walkers, and in it, as ``followers``, that of the
        followers."""
        return {**self.walkers.state_dict(), "followers": self.followers.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from where :meth:`state_dict` was taken.

        Raises:
            KeyError, TypeError, ValueError: the state belongs to other walkers.
        """
        followers = state["followers"]
        self.walkers.load_state_dict(state)
        self.followers.load_state_dict(followers)
