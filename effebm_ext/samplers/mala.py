"""The Metropolis-adjusted Langevin algorithm, along compressed gradients if asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from effebm_ext.energies import warn_if_rounded
from effebm_ext.limits import Bounds, Clip
from effebm_ext.ops.compressor import Compressor
from effebm_ext.rng import ACCEPTANCE, Rng, uniforms
from effebm_ext.samplers.cached import CachedState, dense
from effebm_ext.samplers.divergence import Divergence, is_readable, not_finite, probe
from effebm_ext.samplers.langevin_steps import Energy
from effebm_ext.samplers.proposal import LangevinProposal
from effebm_ext.samplers.step_size import StepSize
from effebm_ext.scalars import as_int

_ADVICE = (
    "Such a chain may never move: start all chains in the support of the density, and where "
    "parameters changed since, look whether they are finite"
)


class MALAInfo(NamedTuple):
    """``energy``: where the last step began. ``acceptance``: probability of acceptance, mean over
    the steps, float64. ``diverged``: bool, the chains whose energy or drift is not finite after the
    last step. All ``(n_chains,)``."""

    energy: Tensor
    acceptance: Tensor
    diverged: Tensor


class MALA(LangevinProposal):
    """Langevin steps that are accepted or rejected, so that the chain samples ``exp(-E) / Z``
    exactly: for any step size, and for any drift that is kept with the chain (see
    :class:`effebm_ext.samplers.proposal.LangevinProposal`).

    The proposal is ``x - step_size / 2 * C(clip(grad E(x))) + sqrt(step_size) * xi``, accepted with
    probability ``min(1, exp(log_ratio))`` (G. Roberts, R. Tweedie 1996), formed in float64.
    Compression is paid for in mixing, not in bias: where the drift is far from the gradient, steps
    of a size that is accepted move like a random walk. Where the gradient grows faster than x, a
    full step from far out may never be accepted; ``clip=ClipNorm(limit)`` bounds the drift, and the
    chain stays exact (MALTA, in the same paper).

    Proposals with an energy or a drift that is not finite are rejected, so that no chain leaves the
    support of the density. A chain whose *start* is such a place has diverged, and may never move;
    so may one whose energy became NaN when parameters changed. :class:`MALAInfo` says which
    chains that are, and the first time there is a warning.

    Energy and drift are kept with the chains: one gradient per step. After the energy's parameters
    have changed, :meth:`refresh_` the state. Where energies are so large, or of so short a dtype,
    that their rounding is above 0.1 nats, acceptance is wrong, and a warning says so once.

    Arguments and errors: :class:`effebm_ext.samplers.proposal.LangevinProposal`, and

    Args:
        on_divergence: keep diverged chains where they are, or raise a NonFiniteError at the end of
            the call.
    """

    def __init__(
        self,
        energy: Energy,
        step_size: StepSize,
        *,
        compressor: Compressor | None = None,
        clip: Clip | None = None,
        error_feedback: bool = False,
        bounds: Bounds | None = None,
        on_divergence: Literal["keep", "raise"] = "keep",
    ) -> None:
        super().__init__(
            energy,
            step_size,
            compressor=compressor,
            clip=clip,
            error_feedback=error_feedback,
            bounds=bounds,
        )
        if on_divergence not in ("keep", "raise"):
            raise ValueError(
                "on_divergence: expected keep or raise, as adjusted chains diverge nowhere but at "
                f"their start, got {on_divergence!r}"
            )
        self.on_divergence = on_divergence
        self._divergence = Divergence(on_divergence, _ADVICE)
        self._warned_of_rounding = False

    def step(self, state: CachedState) -> tuple[CachedState, MALAInfo]:
        """One step. The given state is left as it is."""
        new_state = state.clone()
        return new_state, self.advance_(new_state)

    def advance_(self, state: CachedState, n_steps: int = 1) -> MALAInfo:
        """Moves ``state`` by ``n_steps`` in place.

        Raises:
            TypeError: n_steps is no integer.
            ValueError: n_steps is below 1, or a schedule's step size is not positive and finite.
            NonFiniteError: chains have diverged, and on_divergence is raise.
        """
        energy, acceptance = self.steps_(state, n_steps)
        return MALAInfo(energy, acceptance, self._look(state))

    def steps_(self, state: CachedState, n_steps: int) -> tuple[Tensor, Tensor]:
        """The steps of :meth:`advance_` and what :class:`MALAInfo` says of them, without a look at
        whether chains have diverged."""
        n_steps = as_int(n_steps, "n_steps")
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
        return energy, total / n_steps

    def _look(self, state: CachedState) -> Tensor:
        """Which chains have diverged; with warnings, and with the error that was asked for."""
        seen = {"energy": state.energy, "drift": dense(state.drift)}
        diverged = not_finite(probe(seen["energy"])) | not_finite(probe(seen["drift"]))
        self._divergence.report(diverged, f"before step {state.step}", **seen)
        if not self._warned_of_rounding and is_readable(state.energy):
            self._warned_of_rounding = warn_if_rounded(state.energy, "steps are accepted wrongly")
        return diverged

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
