"""Trajectories in little memory: a start, a key and packed drifts, from which the states follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TypeVar

from torch import Tensor

from effebm_ext.limits import Bounds
from effebm_ext.ops.compressor import Compressor, FusedCompressor
from effebm_ext.ops.packing import Packed
from effebm_ext.ops.step_call import StepCall
from effebm_ext.ops.step_derivative import step_along
from effebm_ext.rng import Key
from effebm_ext.shown import as_call

T = TypeVar("T")


@dataclasses.dataclass
class PackedTrajectory:
    """Gives the states of a run, to the bit, without storing them: every step goes along its stored
    drift again and adds the noise that its key names. The energy is not needed.

    Attributes:
        x0: the starts of the chains, ``(n_chains, *event)``.
        key: names the noise; step ``i`` used ``key.at(i)``.
        bounds: the bounds of the states.
        stochastic_rounding: how 16-bit states were rounded.
        averaged_noise: whether steps shared their noise.
        compressor: the compressor, if its steps moved only what it keeps; else None.
        thin: states are kept after every ``thin`` steps.
        drifts: the drift of every step, packed without loss.
        step_sizes, noise_stds: the values of every step, as the step took them.
    """

    x0: Tensor
    key: Key
    bounds: Bounds | None = None
    stochastic_rounding: bool = False
    averaged_noise: bool = False
    compressor: FusedCompressor | None = None
    thin: int = 1
    drifts: list[Packed] = dataclasses.field(default_factory=list)
    step_sizes: list[float | Tensor] = dataclasses.field(default_factory=list)
    noise_stds: list[float | Tensor | None] = dataclasses.field(default_factory=list)

    __repr__ = as_call

    def append(
        self, drift: Packed, step_size: float | Tensor, noise_std: float | Tensor | None
    ) -> None:
        """Adds a step. Tensors are copied, since the caller may change them."""
        self.drifts.append(drift)
        self.step_sizes.append(_own(step_size))
        self.noise_stds.append(_own(noise_std))

    def __len__(self) -> int:
        """Returns how many states are kept."""
        return len(self.drifts) // self.thin

    def __iter__(self) -> Iterator[Tensor]:
        """Yields copies of the kept states in turn, ``(n_chains, *event)`` each."""
        return (x.clone() for x in self._states())

    def _states(self) -> Iterator[Tensor]:
        """Yields the kept states. Nobody may write them, as the next steps begin there."""
        x = self.x0
        steps = zip(self.drifts, self.step_sizes, self.noise_stds, strict=True)
        for step, (drift, step_size, noise_std) in enumerate(steps):
            call = StepCall.of(
                x,
                step_size,
                self.compressor,
                noise_std,
                bounds=self.bounds,
                rng=self.key.at(step),
                stochastic_rounding=self.stochastic_rounding,
                averaged_noise=self.averaged_noise,
            )
            x = step_along(x, drift.unpack(), call)
            if (step + 1) % self.thin == 0:
                yield x

    def replay(self) -> Tensor:
        """Returns all kept states, ``(n_kept, n_chains, *event)``."""
        states = self.x0.new_empty(len(self), *self.x0.shape)
        for kept, x in zip(states, self._states(), strict=True):
            kept.copy_(x)
        return states

    @property
    def nbytes(self) -> int:
        """Memory of the start and the drifts, in bytes."""
        return self.x0.nbytes + sum(drift.nbytes for drift in self.drifts)


def check_packable(compressor: Compressor | None, *, restarts: bool) -> None:
    """Refuses samplers whose states do not follow from packed drifts.

    Raises:
        ValueError: the drifts of this compressor cannot be packed, or chains may restart.
    """
    if not isinstance(compressor, FusedCompressor):
        raise ValueError(
            "trajectory: expected a compressor of effebm_ext for 'packed', such as TopK(...), "
            f"got {compressor}"
        )
    if restarts:
        raise ValueError(
            "trajectory: expected 'dense' with on_divergence='restart', as drifts do not tell of "
            "chains that begin anew, got 'packed'"
        )


def _own(value: T | Tensor) -> T | Tensor:
    return value.clone() if isinstance(value, Tensor) else value
