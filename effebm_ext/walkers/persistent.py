"""Persistent chains: samples of the model that move on as the model changes."""

from __future__ import annotations

from torch import Tensor

from effebm_ext.rng import Rng
from effebm_ext.samplers import Langevin, LangevinState, StepInfo


class PersistentChains:
    """Chains that continue from one training iteration to the next (persistent contrastive
    divergence; EFF-EBM, Algorithm 1).

    Args:
        sampler: moves the chains; its energy is the model in training.
        x0: where they start, ``(n_chains, *event)``; copied.
        rng: a Key, a torch.Generator, or None.
    """

    def __init__(self, sampler: Langevin, x0: Tensor, *, rng: Rng = None) -> None:
        self.sampler = sampler
        self.state: LangevinState = sampler.init(x0, rng=rng)

    @property
    def x(self) -> Tensor:
        """The chains, ``(n_chains, *event)``."""
        return self.state.x

    def advance(self, n_steps: int) -> StepInfo:
        """Moves every chain by ``n_steps`` Langevin steps."""
        return self.sampler.advance_(self.state, n_steps)
