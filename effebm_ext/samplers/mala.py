"""The Metropolis-adjusted Langevin algorithm, along compressed gradients if asked."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from effebm_ext.energies import warn_if_rounded
from effebm_ext.limits import Bounds, Clip
from effebm_ext.ops.compressor import Compressor
from effebm_ext.ops.metropolis import metropolis_
from effebm_ext.samplers.cached import CachedState, dense
from effebm_ext.samplers.divergence import Divergence, is_readable, not_finite, probe, surely_finite
from effebm_ext.samplers.langevin_steps import Energy
from effebm_ext.samplers.proposal import LangevinProposal, Proposal
from effebm_ext.samplers.sampler import Sampler, checked_steps
from effebm_ext.samplers.state import StepInfo
from effebm_ext.samplers.step_size import StepSize

_ADVICE = (
    "Such a chain may never move: start all chains in the support of the density, and where "
    "parameters changed since, look whether they are finite"
)


class MALA(LangevinProposal, Sampler[CachedState]):
    """Accepts or rejects Langevin steps, so that the chain samples ``exp(-E) / Z`` exactly: for any
    step size, and for any drift that is kept with the chain, those of random compressors included
    (see :class:`effebm_ext.samplers.proposal.LangevinProposal`).

    The proposal is ``x - step_size / 2 * C(clip(grad E(x))) + sqrt(step_size) * xi``, accepted with
    probability ``min(1, exp(log_ratio))`` (G. Roberts, R. Tweedie 1996), formed in float64.
    Compression slows the mixing and adds no bias: if the drift is far from the gradient, steps of a
    size that is accepted move like a random walk. If the gradient grows faster than x, a full step
    from far out may never be accepted; ``clip=ClipNorm(limit)`` bounds the drift, and the chain
    stays exact (MALTA, in the same paper).

    Proposals with an energy or a drift that is not finite are rejected, so that no chain leaves the
    support of the density. A chain that *starts* in such a place has diverged and may never move;
    the same holds for a chain whose energy became NaN when parameters changed.
    ``StepInfo.diverged`` marks these chains, and the first time there is a warning.

    Energy and drift are kept with the chains, so a step takes one gradient. After the energy's
    parameters have changed, :meth:`refresh_` the state. If energies are so large, or of so short a
    dtype, that their rounding is above 0.1 nats, acceptance is wrong, and a warning says so once.

    It has the arguments and errors of :class:`effebm_ext.samplers.proposal.LangevinProposal`, and

    Args:
        on_divergence: keep diverged chains where they are, or raise a NonFiniteError at the end of
            the call.
    """

    fixed = LangevinProposal.fixed | {"on_divergence"}

    def __init__(
        self,
        energy: Energy,
        *,
        step_size: StepSize,
        compressor: Compressor | None = None,
        clip: Clip | None = None,
        error_feedback: bool = False,
        bounds: Bounds | None = None,
        on_divergence: Literal["keep", "raise"] = "keep",
        compile: bool = False,
        gradient_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            energy,
            step_size=step_size,
            compressor=compressor,
            clip=clip,
            error_feedback=error_feedback,
            bounds=bounds,
            compile=compile,
            gradient_dtype=gradient_dtype,
        )
        if on_divergence not in ("keep", "raise"):
            raise ValueError(
                "on_divergence: expected keep or raise, as adjusted chains diverge nowhere but at "
                f"their start, got {on_divergence!r}"
            )
        self.on_divergence = on_divergence
        self._divergence = Divergence(on_divergence, _ADVICE)
        self._warned_of_rounding = False

    def advance_(self, state: CachedState, n_steps: int = 1) -> StepInfo:
        """Moves ``state`` by ``n_steps`` in place. The info has the energies where the last step
        began, the mean acceptance of the steps, and the chains whose energy or drift is not finite
        after the last.

        Raises:
            TypeError: n_steps is no integer.
            ValueError: n_steps is negative, or a schedule's step size is not positive and finite.
            NonFiniteError: chains have diverged, and on_divergence is raise.
        """
        if checked_steps(n_steps) == 0:
            return StepInfo(None)
        with self.moving(state):
            info = self.steps_(state, n_steps)
            return info._replace(diverged=self._look(state))

    def steps_(self, state: CachedState, n_steps: int) -> StepInfo:
        """Makes the steps of :meth:`advance_`, at least one, without checking whether chains have
        diverged."""
        mean = None
        for _ in range(n_steps):
            energy, to = state.energy, self.propose(state)
            kept, probability = metropolis_(
                to.log_ratio, energy, to.energy, state.x, dense(state.drift), to.x, to.drift,
                state.key.at(state.step),
            )  # fmt: skip
            self.move_(state, Proposal(to.x, kept, to.drift, to.log_ratio))
            mean = probability if mean is None else mean.add_(probability)
        assert mean is not None
        return StepInfo(energy, acceptance=mean if n_steps == 1 else mean.div_(n_steps))

    def _look(self, state: CachedState) -> Tensor:
        """Returns which chains have diverged, and warns of them or raises, as asked."""
        energy, drift = state.energy, dense(state.drift)
        if surely_finite(energy, drift):
            diverged = torch.zeros(len(energy), dtype=torch.bool, device=energy.device)
        else:
            diverged = not_finite(probe(energy)) | not_finite(probe(drift))
            self._divergence.report(
                diverged, f"before step {state.step}", energy=energy, drift=drift
            )
        if not self._warned_of_rounding and is_readable(energy):
            self._warned_of_rounding = warn_if_rounded(energy, "steps are accepted wrongly")
        return diverged
