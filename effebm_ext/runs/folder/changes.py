"""Changes of a run's configuration when the run goes on: which are allowed, and their history."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

from effebm_ext.runs.atomic_files import write_text
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.folder.run_files import CONFIG, HISTORY, read_config
from effebm_ext.runs.options.fields import flag

# None of these changes the shape of what a checkpoint holds.
CHANGEABLE = (
    *("seed", "learning_rate", "learning_rate_schedule", "max_grad_norm", "step_size"),
    *("step_size_end", "langevin_steps", "clip", "on_divergence", "iterations", "data", "init"),
    *("checkpoint_every", "keep_checkpoints", "evaluate_every", "ais_steps"),
)

Changes = dict[str, list[Any]]  # the old and the new value by the name of an option


def flags(names: tuple[str, ...] | list[str]) -> str:
    """Returns the names of options as the command line takes them."""
    return ", ".join(map(flag, names))


def changes(old: TrainConfig, new: TrainConfig) -> Changes:
    """Returns what differs between the resolved configurations of a run before and after.

    Raises:
        ValueError: something differs that a run must keep.
    """
    fields = dataclasses.fields(TrainConfig)
    pairs = {field.name: [getattr(old, field.name), getattr(new, field.name)] for field in fields}
    differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    kept = [name for name in differing if name not in CHANGEABLE]
    if kept:
        told = ", ".join(f"{name} from {pairs[name][0]} to {pairs[name][1]}" for name in kept)
        raise ValueError(f"resume: a run cannot change {told}; it may change {flags(CHANGEABLE)}")
    if new.buffer_dtype == "uint8" and {"step_size", "step_size_end"} & differing.keys():
        raise ValueError(
            "resume: the step sizes cannot change with --buffer-dtype uint8, whose codes depend on "
            "them"
        )
    return differing


def in_force(kept: TrainConfig, kind: str, folder: Path) -> TrainConfig:
    """Returns the resolved configuration by which the run in a folder goes on: that of its
    checkpoint, with what its config.json says otherwise.

    Args:
        kept: the configuration of the checkpoint, resolved.
        kind: the kind of the data, :attr:`effebm_ext.runs.data.dataset.Dataset.kind`.
        folder: the folder of the run, which may lack a config.json.

    Raises:
        ValueError: config.json is not a configuration, or changes what a run must keep.
    """
    file = folder / CONFIG
    if not file.exists():
        return kept
    asked = read_config(file)
    if asked.data_seed is None:
        asked = dataclasses.replace(asked, data_seed=kept.data_seed)
    asked = asked.resolved(kind)
    try:
        changes(kept, asked)
    except ValueError as error:
        raise ValueError(f"{error} ({file} differs from the checkpoint)") from error
    return asked


def entry(iteration: int, made: Changes) -> dict[str, Any]:
    """Returns what the history of a run says of changes after ``iteration`` iterations."""
    date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return {"iteration": iteration, "changes": made, "date": date}


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Writes the history of the run in the folder ``path``; a run without changes has none."""
    if history:
        write_text(path / HISTORY, json.dumps(history, indent=2) + "\n")
    else:
        (path / HISTORY).unlink(missing_ok=True)
