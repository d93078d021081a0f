"""The Metropolis-adjusted Langevin algorithm, along compressed gradients if asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from effebm_ext.rng import ACCEPTANCE, Rng, uniforms
from effebm_ext.samplers.cached import CachedState
from effebm_ext.samplers.proposal import LangevinProposal


class MALAInfo(NamedTuple):
    """``energy``: where the last step began. ``acceptance``: probability of acceptance, mean over
    the steps, float64. Both ``(n_chains,)``."""

    energy: Tensor
    acceptance: Tensor


class MALA(LangevinProposal):
    """Langevin steps that are accepted or rejected, so that the chain samples ``exp(-E) / Z``
    exactly: for any step size, and for any deterministic drift.

    The proposal is ``x - step_size / 2 * C(clip(grad E(x))) + sqrt(step_size) * xi``, accepted with
    probability ``min(1, exp(log_ratio))`` (G. Roberts, R. Tweedie 1996), formed in float64.
    Compression is paid for in mixing, not in bias: where the drift is far from the gradient, steps
    of a size that is accepted move like a random walk.

    Proposals with an energy or a drift that is not finite are rejected; a chain that starts at an
    energy of NaN never moves. Energy and drift are kept
    with the chains: one gradient per step. After the energy's parameters have changed,
    :meth:`refresh_` the state.

    Arguments and errors: :class:`effebm_ext.samplers.proposal.LangevinProposal`.
    """

    def step(self, state: CachedState) -> tuple[CachedState, MALAInfo]:
        """One step. The given state is left as it is."""
        new_state = state.clone()
        return new_state, self.advance_(new_state)

    def advance_(self, state: CachedState, n_steps: int = 1) -> MALAInfo:
        """Moves ``state`` by ``n_steps`` in place.

        Raises:
            ValueError: n_steps is below 1.
        """
        if n_steps < 1:
            raise ValueError(f"n_steps: expected at least 1, got {n_steps}")
        total = torch.zeros(len(state.x), dtype=torch.float64, device=state.x.device)
        for _ in range(n_steps):
            energy, proposal = state.energy, self.propose(state)
            usable = proposal.energy.isfinite() & ~proposal.log_ratio.isnan()
            probability = torch.where(usable, proposal.log_ratio.clamp(max=0).exp(), 0.0)
            uniform = uniforms(state.key.at(state.step), len(state.x), ACCEPTANCE)
            self.move_(state, proposal, uniform.to(probability.device) < probability)
            total += probability
        return MALAInfo(energy, total / n_steps)

    def sample(
        self,
        x0: Tensor,
        n_steps: int,
        *,
        rng: Rng = None,
        energy_kwargs: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """The states ``(n_chains, *event)`` after ``n_steps`` steps from ``x0``."""
        state = self.init(x0, rng=rng, energy_kwargs=energy_kwargs)
        self.advance_(state, n_steps)
        return state.x
