"""Trainers that go on from a checkpoint, with changes of the configuration or without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from effebm_ext.rng import generator_for
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import kind_of
from effebm_ext.runs.folder import checkpoint
from effebm_ext.runs.folder.changes import Changes, changes
from effebm_ext.training import Trainer


def configuration(content: dict[str, Any], path: Path) -> tuple[TrainConfig, str]:
    """Returns the resolved configuration in a checkpoint, and the kind of its data.

    Raises:
        effebm_ext.runs.folder.checkpoint.CheckpointError: ``content``, read from ``path``, has
            none.
    """
    try:
        kind = kind_of(content["event_shape"], is_image=content["is_image"])
        return TrainConfig(**content["config"]).resolved(kind), kind
    except (KeyError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(
            f"checkpoint: {path} is not of a training run: {error}"
        ) from error


def restore(
    trainer: Trainer, config: TrainConfig, digest: str, content: dict[str, Any], path: Path
) -> Changes:
    """Lets a trainer go on from a checkpoint: to the bit if nothing has changed. Otherwise learning
    rates and step sizes follow the new schedules from the iteration reached, a new seed begins new
    random numbers, and chains that shall go back to their start get one from the new trainer.

    Args:
        trainer: made from config.
        config: the resolved configuration by which the run goes on.
        digest: the digest of the data.
        content: the content of the checkpoint.
        path: its file, for errors.

    Returns:
        What has changed since the checkpoint.

    Raises:
        effebm_ext.runs.folder.checkpoint.CheckpointError: the checkpoint is of another run, or has
            values that are not finite.
        ValueError: the data have changed; config changes what a run must keep, or asks for fewer
            iterations than were made.
    """
    made = changes(configuration(content, path)[0], config)
    try:
        changed_data = content["digest"] != digest
        state = content["trainer"]
        trainer.load_state_dict(_adapted(state, trainer, config, made) if made else state)
        _check_optimizer(trainer.optimizer)
        _align_step_sizes(trainer, config)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(
            f"checkpoint: {path} is not of this run: {error}"
        ) from error
    checkpoint.check_finite(path, trainer.energy)
    checkpoint.check_finite(path, trainer.model)
    if changed_data:
        raise other_data(config.data, moved="data" in made)
    if config.iterations < trainer.iterations:
        raise ValueError(
            f"iterations: expected at least {trainer.iterations}, which the run has made, "
            f"got {config.iterations}"
        )
    return made


def other_data(source: str, *, moved: bool) -> ValueError:
    """Returns the error that a source does not hold the data of a run.

    Args:
        source: the source of the data.
        moved: whether the source is another than that of the run.
    """
    fault = "holds other data than the run" if moved else "has changed since the run began"
    return ValueError(f"data: {source} {fault}")


def _adapted(
    state: dict[str, Any], trainer: Trainer, config: TrainConfig, made: Changes
) -> dict[str, Any]:
    """Returns the state of a trainer as the changes ask for it."""
    first = config.learning_rate
    rate = first * config.learning_rate_share(state["iterations"])
    groups = [{**g, "initial_lr": first, "lr": rate} for g in state["optimizer"]["param_groups"]]
    rates = {"base_lrs": [first] * len(groups), "_last_lr": [rate] * len(groups)}
    state = {
        **state,
        "optimizer": {**state["optimizer"], "param_groups": groups},
        "schedule": {**state["schedule"], **rates},
    }
    new_seed = "seed" in made
    if new_seed:
        state["generator"] = generator_for("resumed", config.seed).get_state()
    if trainer.chains is not None:
        fresh = trainer.chains.state_dict()
        state["chains"] = _adapted_chains(state["chains"], fresh, new_seed=new_seed)
    return state


def _adapted_chains(
    saved: dict[str, Any], fresh: dict[str, Any], *, new_seed: bool
) -> dict[str, Any]:
    """Returns the state of chains with the seed of fresh chains if it is new, and with their starts
    if it lacks them; and of their buffer and their followers alike."""
    chains = {**({"start": fresh["start"]} if "start" in fresh else {}), **saved}
    if new_seed:
        chains["key"] = {**chains["key"], "seed": fresh["key"]["seed"]}
    for part in ("buffer", "followers"):
        if part in chains:
            chains[part] = _adapted_chains(chains[part], fresh[part], new_seed=new_seed)
    return chains


def _align_step_sizes(trainer: Trainer, config: TrainConfig) -> None:
    """Gives steps the sizes that they have in a run that had the options of ``config`` from its
    beginning, also after the number of steps in an iteration has changed."""
    chains: Any = trainer.chains
    if chains is None or config.step_size_end is None:
        return
    step_sizes = config.step_sizes(config.steps_of_chains(trainer.iterations) - chains.state.step)
    for group in (chains, getattr(chains, "followers", None)):
        if group is not None:
            group.sampler.step_size = step_sizes


def _check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Refuses a state that Adam would not miss before its next step. A parameter that has not had a
    gradient, such as one that is frozen, has no state."""
    if not isinstance(optimizer, torch.optim.Adam):
        return
    for number, parameter in enumerate(p for g in optimizer.param_groups for p in g["params"]):
        state = optimizer.state.get(parameter)
        if state is None:
            continue
        for name in ("exp_avg", "exp_avg_sq"):
            shape = getattr(state.get(name), "shape", None)
            if shape != parameter.shape:
                raise ValueError(
                    f"optimizer: expected {name} of shape {tuple(parameter.shape)} for parameter "
                    f"{number}, got {shape if shape is None else tuple(shape)}"
                )
