"""The recipe for contrastive divergence with persistent chains (EFF-EBM, Algorithm 1)."""

from __future__ import annotations

import dataclasses

from effebm_ext.objectives.contrastive import Contrastive
from effebm_ext.runs.fields import option
from effebm_ext.runs.recipes.recipe import Recipe
from effebm_ext.runs.setting import Setting


@dataclasses.dataclass(frozen=True)
class EnergyL2:
    """Options of objectives that compare the energies of data and samples."""

    energy_l2: float | None = option(
        None,
        "Add the squared energies to the loss with this weight. [default: 0.001, for jarzynski "
        "and with --verbatim 0]",
        resolved=0.001,
        at_least=0,
    )


def _make(setting: Setting, own: EnergyL2) -> Contrastive:
    assert own.energy_l2 is not None  # the options are resolved
    return Contrastive(
        setting.energy,
        setting.chains(),
        langevin_steps=setting.config.langevin_steps,
        energy_l2=own.energy_l2,
    )


CONTRASTIVE = Recipe("contrastive", _make, options=EnergyL2)
