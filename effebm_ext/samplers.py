"""Samplers: states that move, one fused step at a time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from effebm_ext.energies import energy_and_gradient
from effebm_ext.ops.checks import check_state, compute_dtype
from effebm_ext.ops.langevin_step import langevin_step_
from effebm_ext.ops.step_arguments import Bounds, Clip, Compressor
from effebm_ext.rng import Key, Rng

Energy = Callable[[Tensor], Tensor]
StepSize = float | Tensor | Callable[[int], float]


@dataclasses.dataclass
class LangevinState:
    """Chains at one moment; with a sampler, everything the next step depends on.

    Attributes:
        x: ``(n_chains, *event)``.
        residual: error-feedback memory of x's shape, float32 (float64 for float64), or None.
        key: names the noise; step ``i`` uses ``key.at(i)``.
        step: steps made so far.
    """

    x: Tensor
    residual: Tensor | None
    key: Key
    step: int = 0

    def clone(self) -> LangevinState:
        """A copy that shares no memory."""
        residual = None if self.residual is None else self.residual.clone()
        return dataclasses.replace(self, x=self.x.clone(), residual=residual)


class StepInfo(NamedTuple):
    """``energy``: ``(n_chains,)`` at the state a step started from, None for a score."""

    energy: Tensor | None


class Run(NamedTuple):
    """``x``: the final states. ``trajectory``: the states after every ``thin`` steps, ``(n_kept,
    n_chains, *event)``. ``info.energy``: ``(n_kept, n_chains)``, before each of those steps."""

    x: Tensor
    trajectory: Tensor
    info: StepInfo


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
    ) -> None:
        if (energy is None) == (score is None):
            raise TypeError("Langevin: expected either an energy or score=")
        if error_feedback and compressor is None:
            raise ValueError("error_feedback: expected a compressor with it, got compressor=None")
        if isinstance(step_size, (int, float)) and not 0 < step_size < math.inf:
            raise ValueError(f"step_size: expected a positive finite number, got {step_size}")
        if isinstance(step_size, Tensor) and not bool((step_size > 0).all()):
            raise ValueError("step_size: expected positive numbers, got some that are not")
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature: expected a finite number >= 0, got {temperature}")
        self.energy, self.score = energy, score
        self.step_size, self.temperature = step_size, temperature
        self.compressor, self.error_feedback = compressor, error_feedback
        self.clip, self.bounds = clip, bounds

    def init(self, x0: Tensor, *, rng: Rng = None) -> LangevinState:
        """A state at ``x0`` ``(n_chains, *event)``, which is copied; the residual starts at zero.

        ``rng`` is a Key; from a generator, or torch's default one for None, a key is drawn once.
        """
        check_state(x0, "x0")
        x = x0.detach().clone(memory_format=torch.contiguous_format)
        residual = None
        if self.error_feedback:
            residual = torch.zeros_like(x, dtype=compute_dtype(x.dtype))
        return LangevinState(x, residual, _as_key(rng))

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
        if self.error_feedback != (state.residual is not None):
            raise ValueError(
                "state: expected a residual if and only if the sampler has error_feedback; "
                "make the state with init()"
            )
        info = StepInfo(None)
        for _ in range(n_steps):
            info, gradient = self._gradient(state.x)
            step_size = self.step_size(state.step) if callable(self.step_size) else self.step_size
            langevin_step_(
                state.x,
                gradient,
                step_size,
                noise_std=self._noise_std(step_size),
                compressor=self.compressor,
                clip=self.clip,
                bounds=self.bounds,
                residual=state.residual,
                rng=state.key.at(state.step),
            )
            state.step += 1
        return info

    def sample(self, x0: Tensor, n_steps: int, *, rng: Rng = None) -> Tensor:
        """The states ``(n_chains, *event)`` after ``n_steps`` steps from ``x0``."""
        _check_steps(n_steps)
        state = self.init(x0, rng=rng)
        self.advance_(state, n_steps)
        return state.x

    def run(self, x0: Tensor, n_steps: int, *, thin: int = 1, rng: Rng = None) -> Run:
        """Like :meth:`sample`, keeping every ``thin``-th state and its energies.

        Raises:
            ValueError: thin is not between 1 and n_steps.
        """
        _check_steps(n_steps)
        if not 1 <= thin <= max(1, n_steps):
            raise ValueError(f"thin: expected 1 <= thin <= {n_steps}, got {thin}")
        state = self.init(x0, rng=rng)
        kept = n_steps // thin
        trajectory = state.x.new_empty(kept, *state.x.shape)
        energies = []
        for i in range(kept):
            info = self.advance_(state, thin)
            trajectory[i] = state.x
            if info.energy is not None:
                energies.append(info.energy)
        self.advance_(state, n_steps - kept * thin)
        return Run(state.x, trajectory, StepInfo(torch.stack(energies) if energies else None))

    def _gradient(self, x: Tensor) -> tuple[StepInfo, Tensor]:
        if self.energy is not None:
            energies, gradient = energy_and_gradient(self.energy, x)
            return StepInfo(energies), gradient
        assert self.score is not None
        with torch.no_grad():
            return StepInfo(None), -self.score(x)

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
