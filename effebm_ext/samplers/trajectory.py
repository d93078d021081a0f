"""Trajectories in little memory: a start, a key and packed drifts, from which the states follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from effebm_ext.ops.langevin_step import step_along
from effebm_ext.ops.packing import Packed
from effebm_ext.ops.step_arguments import Bounds, step_arguments
from effebm_ext.rng import Key


@dataclasses.dataclass
class PackedTrajectory:
    """The states of a run, to the bit, without storing them: every step goes along its stored drift
    again and adds the noise that its key names. The energy is not needed.

    Attributes:
        x0: where the chains started, ``(n_chains, *event)``.
        key: of the noise; step ``i`` used ``key.at(i)``.
        bounds: of the states.
        thin: states are kept after every ``thin`` steps.
        drifts: what every step went along, packed without loss.
        step_sizes, noise_stds: of every step, as the step took them.
    """

    x0: Tensor
    key: Key
    bounds: Bounds | None = None
    thin: int = 1
    drifts: list[Packed] = dataclasses.field(default_factory=list)
    step_sizes: list[float | Tensor] = dataclasses.field(default_factory=list)
    noise_stds: list[float | Tensor | None] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        """How many states are kept."""
        return len(self.drifts) // self.thin

    def __iter__(self) -> Iterator[Tensor]:
        """The kept states in turn, ``(n_chains, *event)`` each."""
        x = self.x0
        steps = zip(self.drifts, self.step_sizes, self.noise_stds, strict=True)
        for step, (drift, step_size, noise_std) in enumerate(steps):
            key = self.key.at(step)
            move = step_arguments(x, x, step_size, None, noise_std, None, self.bounds, key)
            x = step_along(x, drift.unpack(), self.bounds, move)
            if (step + 1) % self.thin == 0:
                yield x

    def replay(self) -> Tensor:
        """All kept states, ``(n_kept, n_chains, *event)``."""
        if len(self) == 0:
            return self.x0.new_empty(0, *self.x0.shape)
        return torch.stack(list(self))

    @property
    def nbytes(self) -> int:
        """Memory of the start and the drifts, in bytes."""
        return self.x0.nbytes + sum(drift.nbytes for drift in self.drifts)
