"""Training on digits with chains in short numbers: the cross-entropy of held-out digits."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor, nn

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.objectives.contrastive import Contrastive
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.trainer import make_trainer
from effebm_ext.training import Trainer
from experiments.common.records import Row
from experiments.digits.__main__ import BASE, LARGEST_ENERGY_GAP, QUICK, judge

# A buffer of eight times the chains that move, so that most of them rest.
BUFFER: dict[str, Any] = {
    "compressor": "block-sign:64",
    "error_feedback": True,
    "step_size": 0.02,
    "buffer_size": 512,
}
ARMS: dict[str, dict[str, Any]] = {
    "buffer, float32": BUFFER,
    "buffer, bfloat16": BUFFER | {"buffer_dtype": "bfloat16"},
    "buffer, float16": BUFFER | {"buffer_dtype": "float16"},
    "buffer, uint8": BUFFER | {"buffer_dtype": "uint8"},
    "chains, float32": {"step_size": 0.02},
    "chains, bfloat16 to nearest": {"step_size": 0.02},
    "chains, bfloat16 stochastic": {"step_size": 0.02},
    "chains, bfloat16 gradient": {"step_size": 0.02, "gradient_dtype": "bfloat16"},
}
MOVING = {"chains, bfloat16 to nearest": False, "chains, bfloat16 stochastic": True}


class Widened(nn.Module):
    """The energy of a state in short numbers, computed in float32."""

    def __init__(self, energy: nn.Module) -> None:
        super().__init__()
        self.energy = energy

    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = self.energy(x.float())
        return values


def configuration(arm: str, seed: int, *, quick: bool) -> TrainConfig:
    """Returns the run of an arm."""
    changes = ARMS[arm] | ({"buffer_size": 16} if quick and "buffer_size" in ARMS[arm] else {})
    return dataclasses.replace(QUICK if quick else BASE, seed=seed, **changes)


def run(arm: str, config: TrainConfig, dataset: Dataset) -> Row:
    """Trains, and returns the cross-entropies."""
    return judge(trainer_of(arm, config, dataset), config, dataset, LARGEST_ENERGY_GAP).row


def trainer_of(arm: str, config: TrainConfig, dataset: Dataset) -> Trainer:
    """Makes the trainer of an arm."""
    trainer = make_trainer(config, dataset)
    if arm in MOVING:
        _move_in_bfloat16(trainer, config.resolved("small images"), stochastic=MOVING[arm])
    return trainer


def _move_in_bfloat16(trainer: Trainer, config: TrainConfig, *, stochastic: bool) -> None:
    energy = Widened(trainer.energy)
    assert isinstance(config.step_size, float)
    sampler = eff.Langevin(
        energy, step_size=config.step_size, stochastic_rounding=stochastic, on_divergence="raise"
    )
    x0 = trainer.chains.state.x.bfloat16()
    trainer.objective = Contrastive(
        energy,
        PersistentChains(sampler, x0, rng=eff.Key(config.seed)),
        langevin_steps=config.langevin_steps,
        energy_l2=config.energy_l2,
    )
