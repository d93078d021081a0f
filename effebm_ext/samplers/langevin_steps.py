"""The steps of the Langevin sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from effebm_ext.energies import WithoutGraph, energy_and_gradient, like_state, per_chain
from effebm_ext.limits import Bounds, Clip
from effebm_ext.ops.checks import compute_dtype
from effebm_ext.ops.clip import clip_with_statistics
from effebm_ext.ops.compressor import Compressor, FusedCompressor
from effebm_ext.ops.langevin_step import langevin_step_
from effebm_ext.ops.langevin_transition import langevin_transition
from effebm_ext.samplers.divergence import Divergence, OnDivergence, Watch
from effebm_ext.samplers.state import LangevinState, StepInfo
from effebm_ext.samplers.step_size import StepSize
from effebm_ext.samplers.trajectory import PackedTrajectory

Energy = Callable[..., Tensor]


class LangevinSteps:
    """Makes the steps of :class:`effebm_ext.Langevin`, which has these attributes as arguments."""

    energy: Energy | None
    score: Energy | None
    step_size: StepSize
    temperature: float
    compressor: Compressor | None
    error_feedback: bool
    clip: Clip | None
    bounds: Bounds | None
    statistics: bool
    on_divergence: OnDivergence
    _divergence: Divergence
    _keeping_dtype: Compressor | None
    _without_graph: WithoutGraph

    def _watch(self, state: LangevinState) -> Watch:
        return Watch(self._divergence, "score" if self.energy is None else "energy", state)

    def _move_(
        self,
        state: LangevinState,
        n_steps: int,
        watch: Watch,
        record: PackedTrajectory | None = None,
    ) -> StepInfo:
        """Makes the steps of one call, recording their drifts if asked; returns what the last step
        saw."""
        info = StepInfo(None)
        for _ in range(n_steps):
            energy, gradient = self._gradient(state)
            sums = self._step_(state, gradient, watch, record)
            state.step += 1
            watch.step(state, gradient if energy is None else energy)
            info = StepInfo.of(energy, sums, state.x)
        return info

    def _step_(
        self,
        state: LangevinState,
        gradient: Tensor,
        watch: Watch,
        record: PackedTrajectory | None,
    ) -> Tensor | None:
        """Makes one step along a gradient and returns its statistics. With a record, the state gets
        a new tensor x."""
        options = self._options(state, watch)
        if record is None:
            sums = None
            if self.statistics:
                sums = state.x.new_empty(len(state.x), 2, dtype=compute_dtype(state.x.dtype))
            langevin_step_(state.x, gradient, **options, statistics=sums)
            return sums
        move = langevin_transition(state.x, gradient, **options)
        state.x = move.x
        assert isinstance(self.compressor, FusedCompressor)
        packed = self.compressor.pack(move.drift)
        record.append(packed, options["step_size"], options["noise_std"])
        return clip_with_statistics(gradient, self.clip)[1] if self.statistics else None

    def _end_(self, state: LangevinState, watch: Watch, *, look_ahead: bool) -> Tensor | None:
        """Ends the steps of a call: returns which chains diverged, as :meth:`Watch.end` does, or
        None if no step was made. ``look_ahead`` evaluates the energies after the last step for
        this, which the steps themselves do not need."""
        if not watch.any_step:
            return None
        if not look_ahead or self.energy is None:
            return watch.end(state)
        energy = self._without_graph(self.energy, state.x, state.energy_kwargs)
        return watch.end(state, per_chain(energy, len(state.x)))

    def _options(self, state: LangevinState, watch: Watch) -> dict[str, Any]:
        """Returns the arguments of the op for the next step."""
        step_size = self.step_size
        if callable(step_size):
            step_size = watch.step_size(step_size(state.step), state.step)
        return {
            "step_size": step_size,
            "noise_std": self._noise_std(step_size),
            "compressor": self._keeping_dtype,
            "clip": self.clip,
            "bounds": self.bounds,
            "residual": state.residual,
            "rng": state.key.at(state.step),
        }

    def _check_state(self, state: LangevinState) -> None:
        if self.error_feedback != (state.residual is not None):
            raise ValueError(
                "state: expected a residual if and only if the sampler has error_feedback; "
                "make the state with init()"
            )
        if self.on_divergence == "restart" and state.start is None:
            raise ValueError(
                "state: expected a start, as chains may restart; make the state with init()"
            )

    def _gradient(self, state: LangevinState) -> tuple[Tensor | None, Tensor]:
        if self.energy is not None:
            return energy_and_gradient(self.energy, state.x, state.energy_kwargs)
        assert self.score is not None
        score = self._without_graph(self.score, state.x, state.energy_kwargs)
        return None, -like_state(score, state.x)

    def _noise_std(self, step_size: float | Tensor) -> float | Tensor | None:
        if self.temperature == 1.0:
            return None
        return (step_size * self.temperature) ** 0.5
