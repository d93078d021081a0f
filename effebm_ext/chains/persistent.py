"""Persistent chains: samples of the model that move on as the model changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from effebm_ext.chains.restart import Restart
from effebm_ext.rng import Rng
from effebm_ext.samplers import LangevinState, Sampler, StepInfo
from effebm_ext.shown import as_call


class PersistentChains:
    """Keeps chains that continue from one training iteration to the next (persistent contrastive
    divergence; EFF-EBM, Algorithm 1).

    Args:
        sampler: any sampler, which moves the chains; its energy is the model in training.
        x0: the starts of the chains, ``(n_chains, *event)``; copied.
        rng: a Key, a torch.Generator, or None.
        restart: restarts some chains before they are advanced; None: no chain ever restarts.
        energy_kwargs: keyword arguments of the energy; values per chain stay with their chains
            until these restart.
    """

    def __init__(
        self,
        sampler: Sampler[Any],
        x0: Tensor,
        *,
        rng: Rng = None,
        restart: Restart | None = None,
        energy_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.sampler, self.restart = sampler, restart
        self.state: LangevinState = sampler.init(x0, rng=rng, energy_kwargs=energy_kwargs)

    __repr__ = as_call

    @property
    def x(self) -> Tensor:
        """The chains, ``(n_chains, *event)``."""
        return self.state.x

    @property
    def samples(self) -> Tensor:
        """The chains as samples of the model, ``(n_chains, *event)``
        (:meth:`effebm_ext.samplers.Sampler.samples`)."""
        return self.sampler.samples(self.state)

    def advance(self, n_steps: int) -> StepInfo:
        """Moves every chain by ``n_steps`` steps of the sampler, by the energy as it is now."""
        with torch.inference_mode(False):  # the chains are trained on later
            if self.restart is not None:
                self.restart.apply_(self.state)
            self.sampler.refresh_(self.state)
            return self.sampler.advance_(self.state, n_steps)

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that changes, for :meth:`load_state_dict`."""
        saved = self.state.state_dict()
        if self.restart is not None:
            saved["restart"] = self.restart.state_dict()
        return saved

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from where :meth:`state_dict` was taken.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: the state belongs to other chains.
        """
        self.state = self.state.loaded(state)
        if self.restart is not None and "restart" in state:  # earlier checkpoints have none
            self.restart.load_state_dict(state["restart"])
