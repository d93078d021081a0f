"""A replay buffer: more chains than are moved at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from effebm_ext.rng import Rng
from effebm_ext.samplers import Langevin, LangevinState, StepInfo
from effebm_ext.walkers.restart import Restart, load_state, state_dict


class ReplayBuffer:
    """Chains that rest in a buffer; every iteration some of them are drawn, moved and put back
    (IGEBM, Du and Mordatch 2019; JEM). Residuals move with their chains.

    Args:
        sampler: moves the chains; its energy is the model in training.
        x0: the buffer, ``(size, *event)``; copied.
        n_chains: drawn at a time, without replacement, at most ``size``.
        generator: CPU generator of the draws.
        rng: a Key, a torch.Generator, or None.
        restart: which of the drawn chains begin anew; None: none ever does.

    Raises:
        ValueError: n_chains is not between 1 and the size of the buffer.
    """

    def __init__(
        self,
        sampler: Langevin,
        x0: Tensor,
        *,
        n_chains: int,
        generator: torch.Generator,
        rng: Rng = None,
        restart: Restart | None = None,
    ) -> None:
        if not 1 <= n_chains <= len(x0):
            raise ValueError(
                f"n_chains: expected 1 to {len(x0)}, the size of the buffer, got {n_chains}"
            )
        self.sampler, self.n_chains, self.restart = sampler, n_chains, restart
        self.generator = generator
        self.buffer: LangevinState = sampler.init(x0, rng=rng)
        self.state: LangevinState = self._take(torch.arange(n_chains))

    @property
    def x(self) -> Tensor:
        """The chains that were moved last, ``(n_chains, *event)``."""
        return self.state.x

    def advance(self, n_steps: int) -> StepInfo:
        """Draws chains from the buffer, moves them by ``n_steps`` steps, and puts them back."""
        rows = torch.randperm(len(self.buffer.x), generator=self.generator)[: self.n_chains]
        self.state = self._take(rows)
        if self.restart is not None:
            self.restart.apply_(self.state)
        info = self.sampler.advance_(self.state, n_steps)
        rows = rows.to(self.buffer.x.device)
        self.buffer.x[rows] = self.state.x
        if self.buffer.residual is not None and self.state.residual is not None:
            self.buffer.residual[rows] = self.state.residual
        self.buffer.step = self.state.step
        return info

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes but the generator, for :meth:`load_state_dict`."""
        return {**state_dict(self.state), "buffer": state_dict(self.buffer)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where :meth:`state_dict` was taken.

        Raises:
            KeyError, TypeError, ValueError: the state is of other chains.
        """
        buffer = load_state(state["buffer"], self.buffer)
        self.state, self.buffer = load_state(state, self.state), buffer

    def _take(self, rows: Tensor) -> LangevinState:
        """Copies of some chains. Noise goes on with the buffer's step, so none is used twice."""
        rows = rows.to(self.buffer.x.device)
        residual = None if self.buffer.residual is None else self.buffer.residual[rows]
        return LangevinState(self.buffer.x[rows], residual, self.buffer.key, self.buffer.step)
