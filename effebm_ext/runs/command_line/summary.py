"""One line on what a run was given and what it trains."""

from __future__ import annotations

from effebm_ext.networks import GaussianBase
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.recipes import recipe_of
from effebm_ext.training import Trainer


def summary(config: TrainConfig, dataset: Dataset, trainer: Trainer) -> str:
    """Returns one line: the data as they were understood, the energy, the chains and the recipe.

    Args:
        config: the resolved configuration of the run.
        dataset: all of the data.
        trainer: the trainer of the run, before its first iteration.
    """
    rows = dataset.rows
    n, n_train = len(rows), len(trainer.data)
    data = f"{n} {_kind(dataset)} in [{float(rows.min()):.3g}, {float(rows.max()):.3g}]"
    data += f", std {float(rows.std(correction=0)):.2g}"
    if dataset.changes:
        data += f" ({', '.join(dataset.changes)})"
    if config.conditional:
        data += f"; {dataset.classes()}"
    split = f"{n_train} to train on, {n - n_train} held out"
    how = recipe_of(config)
    return f"{data}; {split}; {_energy(trainer)}; {_chains(config, trainer)}; {how}"


def _kind(dataset: Dataset) -> str:
    shape = " x ".join(map(str, dataset.event_shape))
    if dataset.is_image:
        return f"images {shape}"
    return f"points of {shape} numbers" if len(dataset.event_shape) == 1 else f"arrays {shape}"


def _energy(trainer: Trainer) -> str:
    energy = trainer.energy
    n = sum(parameter.numel() for parameter in energy.parameters())
    base = isinstance(energy, GaussianBase)
    name = type(energy.net if isinstance(energy, GaussianBase) else energy).__name__
    return f"{name}{' with a Gaussian base' if base else ''}, {n:,} parameters"


def _chains(config: TrainConfig, trainer: Trainer) -> str:
    if trainer.chains is None:
        return "no chains"
    kept = f" of a buffer of {config.buffer_size}" if config.buffer_size else ""
    return f"{len(trainer.state.x)} chains{kept}"
