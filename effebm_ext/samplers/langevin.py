"""Unadjusted Langevin dynamics, one fused step at a time."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from effebm_ext.energies import energy_and_gradient
from effebm_ext.ops.checks import check_state, compute_dtype
from effebm_ext.ops.drift import clip_with_statistics
from effebm_ext.ops.langevin_step import langevin_step_
from effebm_ext.ops.langevin_transition import langevin_transition
from effebm_ext.ops.step_arguments import Bounds, Clip, Compressor, FusedCompressor
from effebm_ext.rng import Key, Rng
from effebm_ext.samplers.state import LangevinState, Run, StepInfo
from effebm_ext.samplers.trajectory import PackedTrajectory

Energy = Callable[..., Tensor]
StepSize = float | Tensor | Callable[[int], float]


class Langevin:
    """Unadjusted Langevin dynamics, with compressed gradients if asked.

    One step is ``x <- x - step_size / 2 * C(clip(grad E)) + sqrt(step_size * temperature) * xi``
    (EFF-EBM, Algorithm 1; the discretised chain has a bias that vanishes with step_size). Plain
    compression biases the chain further; ``error_feedback=True`` cures most of that, at the price
    of one more state per chain.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``; or
        score: maps ``(n, *event)`` to the gradient of the log density, same shape.
        step_size: gamma > 0: a number, a tensor with one per chain, or a callable of the step.
        temperature: of the target ``exp(-E / temperature)``; 0 descends without noise.
        compressor: as in :func:`effebm_ext.langevin_step_`.
        error_feedback: feed what compression dropped back into the next step.
        clip, bounds: as in :func:`effebm_ext.langevin_step_`.
        statistics: find the norm of the gradients and the fraction that is clipped, in the pass of
            the step.

    Conditional energies: :meth:`init`, :meth:`sample` and :meth:`run` take ``energy_kwargs``, which
    the energy or the score gets as keyword arguments at every evaluation. They are part of the
    state, so that labels stay with their chains (:class:`effebm_ext.samplers.LangevinState`).

    Raises:
        TypeError: both or neither of energy and score are given.
        ValueError: error_feedback without a compressor, or a scalar out of range.
    """

    def __init__(
        self,
        energy: Energy | None = None,
        *,
        score: Energy | None = None,
        step_size: StepSize,
        temperature: float = 1.0,
        compressor: Compressor | None = None,
        error_feedback: bool = False,
        clip: Clip | None = None,
        bounds: Bounds | None = None,
        statistics: bool = False,
    ) -> None:
        if (energy is None) == (score is None):
            raise TypeError("Langevin: expected either an energy or score=")
        if error_feedback and compressor is None:
            raise ValueError("error_feedback: expected a compressor with it, got compressor=None")
        if isinstance(step_size, numbers.Real):  # NumPy's scalars are no float to the ops
            step_size = float(step_size)
            if not 0 < step_size < math.inf:
                raise ValueError(f"step_size: expected a positive finite number, got {step_size}")
        if isinstance(step_size, Tensor) and not bool((step_size > 0).all()):
            raise ValueError("step_size: expected positive numbers, got some that are not")
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature: expected a finite number >= 0, got {temperature}")
        self.energy, self.score = energy, score
        self.step_size, self.temperature = step_size, float(temperature)
        self.compressor, self.error_feedback = compressor, error_feedback
        self.clip, self.bounds, self.statistics = clip, bounds, statistics

    def init(
        self, x0: Tensor, *, rng: Rng = None, energy_kwargs: Mapping[str, Any] | None = None
    ) -> LangevinState:
        """A state at ``x0`` ``(n_chains, *event)``, which is copied; the residual starts at zero.

        Args:
            x0: the chains, ``(n_chains, *event)``.
            rng: a Key; from a generator, or torch's default one for None, a key is drawn once.
            energy_kwargs: keyword arguments of the energy, or of the score. Tensors whose first
                axis is n_chains are values per chain and are copied, without their graph.

        Raises:
            TypeError: x0 is no floating-point tensor, or rng or energy_kwargs of another kind.
        """
        check_state(x0, "x0")
        if not isinstance(energy_kwargs, Mapping | None):
            kind = type(energy_kwargs).__name__
            raise TypeError(f"energy_kwargs: expected a mapping from names to values, got {kind}")
        x = x0.detach().clone(memory_format=torch.contiguous_format)
        residual = None
        if self.error_feedback:
            residual = torch.zeros_like(x, dtype=compute_dtype(x.dtype))
        state = LangevinState(x, residual, _as_key(rng), energy_kwargs=dict(energy_kwargs or {}))
        for name, value in state.values_per_chain().items():
            state.energy_kwargs[name] = value.detach().clone()
        return state

    def step(self, state: LangevinState) -> tuple[LangevinState, StepInfo]:
        """One step. The given state is left as it is; loops that can do without it use
        :meth:`advance_`, which saves the copy."""
        new_state = state.clone()
        return new_state, self.advance_(new_state)

    def advance_(self, state: LangevinState, n_steps: int = 1) -> StepInfo:
        """Moves ``state`` by ``n_steps`` in place; what the last of them saw.

        Raises:
            ValueError: the state has a residual and the sampler no error feedback, or the reverse.
        """
        self._check_residual(state)
        info = StepInfo(None)
        for _ in range(n_steps):
            energy, gradient = self._gradient(state)
            sums = self._new_statistics(state.x)
            langevin_step_(state.x, gradient, **self._options(state), statistics=sums)
            state.step += 1
            info = StepInfo.of(energy, sums, state.x)
        return info

    def sample(
        self,
        x0: Tensor,
        n_steps: int,
        *,
        rng: Rng = None,
        energy_kwargs: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """The states ``(n_chains, *event)`` after ``n_steps`` steps from ``x0``."""
        _check_steps(n_steps)
        state = self.init(x0, rng=rng, energy_kwargs=energy_kwargs)
        self.advance_(state, n_steps)
        return state.x

    def run(
        self,
        x0: Tensor,
        n_steps: int,
        *,
        thin: int = 1,
        trajectory: Literal["dense", "packed"] = "dense",
        rng: Rng = None,
        energy_kwargs: Mapping[str, Any] | None = None,
    ) -> Run:
        """Like :meth:`sample`, keeping every ``thin``-th state and what its step saw.

        ``trajectory="packed"`` keeps the compressed drifts of all steps instead of states, about
        0.19 bytes per element and step for Block-Sign of 64 in float32; the states follow from them
        to the bit (:class:`effebm_ext.samplers.PackedTrajectory`).

        Raises:
            ValueError: thin is not between 1 and n_steps; trajectory is neither; it is packed, and
                the compressor is not TopK or BlockSign.
        """
        _check_steps(n_steps)
        if not 1 <= thin <= max(1, n_steps):
            raise ValueError(f"thin: expected 1 <= thin <= {n_steps}, got {thin}")
        if trajectory not in ("dense", "packed"):
            raise ValueError(f"trajectory: expected 'dense' or 'packed', got {trajectory!r}")
        state = self.init(x0, rng=rng, energy_kwargs=energy_kwargs)
        infos = []
        if trajectory == "packed":
            packed = PackedTrajectory(state.x.clone(), state.key, self.bounds, thin)
            for step in range(1, n_steps + 1):
                info = self._advance_recorded_(state, packed)
                if step % thin == 0:
                    infos.append(info)
            return Run(state.x, packed, StepInfo.stack(infos))
        dense = state.x.new_empty(n_steps // thin, *state.x.shape)
        for kept in dense:
            infos.append(self.advance_(state, thin))
            kept.copy_(state.x)
        self.advance_(state, n_steps % thin)
        return Run(state.x, dense, StepInfo.stack(infos))

    def _advance_recorded_(self, state: LangevinState, record: PackedTrajectory) -> StepInfo:
        """One step whose drift is kept; the state gets a new x."""
        if not isinstance(self.compressor, FusedCompressor):
            raise ValueError(
                "trajectory: expected compressor=TopK(...) or BlockSign(...) for 'packed', "
                f"got {self.compressor}"
            )
        energy, gradient = self._gradient(state)
        options = self._options(state)
        move = langevin_transition(state.x, gradient, **options)
        record.drifts.append(self.compressor.pack(move.drift))
        record.step_sizes.append(options["step_size"])
        record.noise_stds.append(options["noise_std"])
        state.x = move.x
        state.step += 1
        sums = clip_with_statistics(gradient, self.clip)[1] if self.statistics else None
        return StepInfo.of(energy, sums, state.x)

    def _options(self, state: LangevinState) -> dict[str, Any]:
        """Of the next step."""
        step_size = self._step_size(state.step)
        return {
            "step_size": step_size,
            "noise_std": self._noise_std(step_size),
            "compressor": self.compressor,
            "clip": self.clip,
            "bounds": self.bounds,
            "residual": state.residual,
            "rng": state.key.at(state.step),
        }

    def _check_residual(self, state: LangevinState) -> None:
        if self.error_feedback != (state.residual is not None):
            raise ValueError(
                "state: expected a residual if and only if the sampler has error_feedback; "
                "make the state with init()"
            )

    def _new_statistics(self, x: Tensor) -> Tensor | None:
        return x.new_empty(len(x), 2, dtype=compute_dtype(x.dtype)) if self.statistics else None

    def _gradient(self, state: LangevinState) -> tuple[Tensor | None, Tensor]:
        if self.energy is not None:
            return energy_and_gradient(self.energy, state.x, state.energy_kwargs)
        assert self.score is not None
        with torch.no_grad():
            return None, -self.score(state.x, **state.energy_kwargs)

    def _step_size(self, step: int) -> float | Tensor:
        if not callable(self.step_size):
            return self.step_size
        step_size = self.step_size(step)
        return float(step_size) if isinstance(step_size, numbers.Real) else step_size

    def _noise_std(self, step_size: float | Tensor) -> float | Tensor | None:
        if self.temperature == 1.0:
            return None
        return (step_size * self.temperature) ** 0.5


def _as_key(rng: Rng) -> Key:
    if isinstance(rng, Key):
        return rng
    if rng is not None and not isinstance(rng, torch.Generator):
        raise TypeError(f"rng: expected a Key, a torch.Generator or None, got {type(rng).__name__}")
    device = "cpu" if rng is None else rng.device
    seed = torch.randint(-(2**63), 2**63 - 1, (), device=device, generator=rng)
    return Key(int(seed))


def _check_steps(n_steps: int) -> None:
    if n_steps < 0:
        raise ValueError(f"n_steps: expected at least 0, got {n_steps}")
