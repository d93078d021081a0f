"""The steps of the Langevin sampler."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from effebm_ext.calls import WithoutGraph
from effebm_ext.energies import frozen, like_state, per_chain
from effebm_ext.gradients import EnergyGradient
from effebm_ext.limits import Bounds, Clip
from effebm_ext.ops.checks import compute_dtype, increment_version
from effebm_ext.ops.clip import clip_with_statistics
from effebm_ext.ops.compressor import Compressor, FusedCompressor
from effebm_ext.ops.langevin_step import langevin_step_
from effebm_ext.ops.langevin_transition import langevin_transition
from effebm_ext.ops.step_call import StepCall
from effebm_ext.ops.step_derivative import step_along
from effebm_ext.samplers.divergence import Divergence, OnDivergence, Watch
from effebm_ext.samplers.shards import of_rows, on_threads, part_of_step_size, shards_of
from effebm_ext.samplers.state import LangevinState, StepInfo
from effebm_ext.samplers.step_size import StepSize
from effebm_ext.samplers.temperature import Temperature
from effebm_ext.samplers.trajectory import PackedTrajectory
from effebm_ext.samplers.virial import virials

if TYPE_CHECKING:
    from typing_extensions import Self

Energy = Callable[..., Tensor]


class LangevinSteps:
    """Makes the steps of :class:`effebm_ext.Langevin`, which has these attributes as arguments."""

    energy: Energy | None
    gradient: EnergyGradient | None
    score: Energy | None
    step_size: StepSize
    temperature: Temperature
    compressor: Compressor | None
    error_feedback: bool
    clip: Clip | None
    bounds: Bounds | None
    statistics: bool
    virial_centre: Tensor | None
    stochastic_rounding: bool
    averaged_noise: bool
    on_divergence: OnDivergence
    shards: int
    _divergence: Divergence
    _keeping_dtype: Compressor | None
    _without_graph: WithoutGraph

    def samples(self, state: LangevinState) -> Tensor:
        """Returns the chains as samples of the target, ``(n_chains, *event)``: the states, or with
        error feedback new tensors ``x - step_size / 4 * residual`` within the bounds.

        The residual is gradient that the chain has yet to follow. The states follow late and are
        too far out; ``x - step_size / 2 * residual``, a chain that every gradient moves at once,
        is too far in. Half way between, the bias of the feedback cancels for Gaussians, up to the
        order of ``step_size**2`` (docs/remedies.md).
        """
        if state.residual is None:
            return state.x
        step_size = self.step_size
        if callable(step_size):
            step_size = step_size(max(0, state.step - 1))
        call = StepCall.of(state.x, step_size * 0.5, noise_std=0.0, bounds=self.bounds)
        with torch.no_grad():
            return step_along(state.x, state.residual, call)

    def _by_shards(
        self,
        state: LangevinState,
        n_steps: int,
        move: Callable[[Self, LangevinState, slice], StepInfo],
    ) -> StepInfo:
        """Calls ``move`` with a sampler and a state for every group of chains, and with the rows
        of the group; joins what it returns."""
        with frozen(self._function):
            return self._by_groups(state, n_steps, move)

    def _by_groups(
        self,
        state: LangevinState,
        n_steps: int,
        move: Callable[[Self, LangevinState, slice], StepInfo],
    ) -> StepInfo:
        groups = shards_of(state, self.shards)
        if len(groups) == 1:
            return move(self, state, groups[0])
        reports = [self._divergence.of_shard(rows) for rows in groups]
        try:
            infos = on_threads([
                functools.partial(
                    move, self._of_shard(rows, len(state.x), report), state.part(rows), rows
                )
                for rows, report in zip(groups, reports, strict=True)
            ])  # fmt: skip
        finally:
            for report in reports:
                report.end()
            for written in (state.x, state.residual):
                if written is not None:
                    increment_version(written)  # the parts have versions of their own
        state.step += n_steps
        return StepInfo.joined(infos)

    def _of_shard(self, rows: slice, n_chains: int, report: Divergence) -> Self:
        """Returns the sampler for the chains ``rows`` of ``n_chains``, which reports there."""
        sampler = copy.copy(self)
        sampler.step_size = part_of_step_size(self.step_size, rows, n_chains)
        sampler.temperature = of_rows(self.temperature, rows, n_chains, "temperature")
        sampler._divergence = report
        return sampler

    @property
    def _function(self) -> Energy | None:
        """The energy or the score."""
        return self.score if self.energy is None else self.energy

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
        return self._steps_(state, n_steps, watch, self._scalars, record)

    def _steps_(
        self,
        state: LangevinState,
        n_steps: int,
        watch: Watch,
        scalars: Callable[[int, Watch], tuple[float | Tensor, float | Tensor | None]],
        record: PackedTrajectory | None = None,
    ) -> StepInfo:
        """Does what :meth:`_move_` does. ``scalars`` gives what :meth:`_scalars` gives."""
        info = StepInfo(None)
        for left in reversed(range(n_steps)):
            energy, gradient = self._gradient(state)
            virial = self._virials(state.x, gradient) if left == 0 else None
            sums = self._step_(state, gradient, *scalars(state.step, watch), record)
            state.step += 1
            watch.step(state, gradient if energy is None else energy)
            info = StepInfo.of(energy, sums, state.x, virial)
        return info

    def _step_(
        self,
        state: LangevinState,
        gradient: Tensor,
        step_size: float | Tensor,
        noise_std: float | Tensor | None,
        record: PackedTrajectory | None,
    ) -> Tensor | None:
        """Makes one step along a gradient and returns its statistics. With a record, the state gets
        a new tensor x."""
        options = self._options(state, step_size, noise_std)
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
        record.append(packed, step_size, noise_std)
        return clip_with_statistics(gradient, self.clip)[1] if self.statistics else None

    def _virials(self, x: Tensor, gradient: Tensor) -> Tensor | None:
        temperature = self.temperature
        if not self.statistics or (not isinstance(temperature, Tensor) and temperature == 0):
            return None
        return virials(x, gradient, self.virial_centre) / temperature

    def _record_(
        self, state: LangevinState, n_steps: int, thin: int, kept: Tensor | PackedTrajectory
    ) -> StepInfo:
        """Makes the steps of a run and records their states; returns what these steps saw."""
        record = kept if isinstance(kept, PackedTrajectory) else None
        watch = self._watch(state)
        infos = []
        for i in range(n_steps // thin):
            if i > 0:
                watch.window(state)
            infos.append(self._move_(state, thin, watch, record))
            if isinstance(kept, Tensor):
                kept[i] = self.samples(state)
        self._move_(state, n_steps % thin, watch, record)
        info, diverged = StepInfo.stack(infos), self._end_(state, watch, look_ahead=True)
        if diverged is None:
            return info
        return info._replace(diverged=diverged.reshape(len(infos), len(state.x)))

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

    def _options(
        self, state: LangevinState, step_size: float | Tensor, noise_std: float | Tensor | None
    ) -> dict[str, Any]:
        """Returns the arguments of the op for the next step."""
        return {
            "step_size": step_size,
            "noise_std": noise_std,
            "compressor": self._keeping_dtype,
            "clip": self.clip,
            "bounds": self.bounds,
            "residual": state.residual,
            "stochastic_rounding": self.stochastic_rounding,
            "averaged_noise": self.averaged_noise,
            "rng": state.key.at(state.step),
        }

    def _check_state(self, state: LangevinState) -> None:
        of_rows(self.temperature, slice(None), len(state.x), "temperature")
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
        if self.gradient is not None:
            return self.gradient(state.x, state.energy_kwargs)
        assert self.score is not None
        score = self._without_graph(self.score, state.x, state.energy_kwargs)
        return None, -like_state(score, state.x)

    def _scalars(self, step: int, watch: Watch) -> tuple[float | Tensor, float | Tensor | None]:
        """Returns step_size and noise_std of the op for the step of this number."""
        step_size = self.step_size
        if callable(step_size):
            step_size = watch.step_size(step_size(step), step)
        temperature = self.temperature
        if not isinstance(temperature, Tensor) and temperature == 1.0:
            return step_size, None
        # Products of tensors of 16 bits would round the variance of the noise, or lose it.
        variance = step_size.double() if isinstance(step_size, Tensor) else step_size
        if isinstance(temperature, Tensor):
            temperature = temperature.double()
            if isinstance(step_size, Tensor) and step_size.dim() > 1:
                temperature = temperature.reshape(-1, *[1] * (step_size.dim() - 1))
        return step_size, (variance * temperature) ** 0.5
