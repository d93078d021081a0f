"""Particle dynamics: chains that also move with the change of the energy (arXiv 2111.13772)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from effebm_ext.chains.particle_moves import (
    FrozenEnergy,
    Move,
    alpha_move,
    beta_move,
    step_correction,
)
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.objectives.contrastive import Contrastive
from effebm_ext.objectives.objective import Loss
from effebm_ext.samplers import Sampler

_MOVES: dict[str, Callable[..., Move]] = {"alpha": alpha_move, "beta": beta_move}


class ParticleDynamics(Contrastive):
    """Contrastive divergence whose chains, the particles, follow the model.

    In every iteration the parameters step along ``mean E(data) - mean E(particles)``. Then the
    particles move with the resulting change of the energy, and by ``langevin_steps`` Langevin steps
    (:meth:`advance`; the first of these come before the first step of the parameters). The Langevin
    steps may be compressed. The residual of error feedback holds what they have dropped; the moves
    neither use nor change it.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``, given the particles' energy_kwargs.
        chains: the particles, which move by this energy.
        langevin_steps: Langevin steps of the particles per iteration; 0: only the moves.
        move: alpha (:func:`~effebm_ext.chains.particle_moves.alpha_move`) or beta
            (:func:`~effebm_ext.chains.particle_moves.beta_move`).
        corrected: scale the moves by c of
            :func:`~effebm_ext.chains.particle_moves.step_correction`, but by 1 at most. If D is
            about linear far out, c grows with the square of the particles' distances and would
            throw them ever further.
        energy_l2: weight of the squared energies in the loss.

    Raises:
        TypeError: chains are a replay buffer, or langevin_steps is no integer.
        ValueError: langevin_steps is negative; move is neither alpha nor beta; the sampler of the
            chains has bounds or another temperature than 1, of which the moves know nothing.
    """

    _LEAST_STEPS = 0  # the moves go on without

    def __init__(
        self,
        energy: nn.Module,
        chains: PersistentChains,
        *,
        langevin_steps: int,
        move: str = "alpha",
        corrected: bool = False,
        energy_l2: float = 0.0,
    ) -> None:
        if not isinstance(chains, PersistentChains):
            raise TypeError(
                "chains: expected PersistentChains, all of which can move with every change of "
                f"the energy, got {type(chains).__name__}"
            )
        if move not in _MOVES:
            raise ValueError(f"move: expected {' or '.join(_MOVES)}, got {move!r}")
        _check_sampler(chains.sampler)
        super().__init__(energy, chains, langevin_steps=langevin_steps, energy_l2=energy_l2)
        self.move, self.corrected = move, corrected
        self._old = FrozenEnergy(energy)

    def loss(self, data: Tensor, labels: dict[str, Tensor]) -> Loss:
        """Returns the loss of :meth:`Contrastive.loss`; keeps the energy from before the step."""
        loss = super().loss(data, labels)
        self._old = FrozenEnergy(self.energy)  # with the buffers that the step begins with
        return loss

    def parameters_moved(self) -> dict[str, float]:
        """Moves the particles and returns metrics: ``move_rms``, the root mean square of the
        elements of their displacements, in units of the data; and ``step_correction``, which is c
        before it is bounded by 1, if asked."""
        state = self.chains.state
        move = _MOVES[self.move](state.x, self._old, self.energy, state.energy_kwargs)
        displacement, metrics = move.displacement, {}
        if self.corrected:
            c = step_correction(move, state.energy_kwargs.get("y"))
            displacement = c.clamp(max=1) * displacement
            metrics["step_correction"] = float(c)
        state.x += displacement
        return {"move_rms": float(displacement.square().mean().sqrt()), **metrics}


def _check_sampler(sampler: Sampler[Any]) -> None:
    """The moves are those of ``exp(-E)`` without walls."""
    temperature = getattr(sampler, "temperature", 1.0)
    if isinstance(temperature, Tensor) or temperature != 1.0:
        raise ValueError(f"chains: expected a sampler of temperature 1, got {temperature}")
    bounds = getattr(sampler, "bounds", None)
    if bounds is not None:
        raise ValueError(f"chains: expected a sampler without bounds, got {bounds}")
