"""The method for particle dynamics."""

from __future__ import annotations

import dataclasses

from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.objectives.particle import ParticleDynamics
from effebm_ext.runs.methods.contrastive import EnergyL2
from effebm_ext.runs.methods.method import Method
from effebm_ext.runs.methods.setting import Setting
from effebm_ext.runs.options.common import CommonOptions
from effebm_ext.runs.options.fields import option


@dataclasses.dataclass(frozen=True)
class ParticleOptions(EnergyL2):
    """Options of particle dynamics."""

    particle_move: str = option(
        "alpha",
        "Move the particles with the change of the energy by the difference of gradients (alpha) "
        "or by a derivative of second order (beta).",
        names=("alpha", "beta"),
    )
    step_correction: bool = option(
        False,
        "Scale the particles' moves to the width of what they sample, by Var(D) / E|grad D|^2 for "
        "a change D of the energy.",
    )


def _check(config: CommonOptions, own: ParticleOptions) -> None:
    if config.buffer_size:
        raise ValueError(
            "buffer_size: not with objective particle, all of whose particles move with every "
            f"change of the energy, got {config.buffer_size}"
        )


def _make(setting: Setting, own: ParticleOptions) -> ParticleDynamics:
    chains = setting.chains()
    assert isinstance(chains, PersistentChains)  # there is no buffer
    return ParticleDynamics(
        setting.energy,
        chains,
        langevin_steps=setting.config.langevin_steps,
        move=own.particle_move,
        corrected=own.step_correction,
        energy_l2=own.energy_l2,
    )


PARTICLE = Method("particle", _make, options=ParticleOptions, check=_check)
