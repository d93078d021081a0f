"""The files of a run folder: their names, and whether a folder holds a run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from effebm_ext.runs.atomic_files import write_text
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.folder import checkpoint
from effebm_ext.runs.folder.checkpoint import BEST, CHECKPOINT
from effebm_ext.runs.run_mark import CONFIG, FORMAT, is_configuration

METRICS, EVALUATION = "metrics.jsonl", "evaluation.json"
ENVIRONMENT, HISTORY = "environment.json", "history.json"
SAMPLES, CURVES, ANIMATION = "samples.png", "curves.png", "samples.gif"
REPORT = "report.html"
FRAMES, EARLIER, TENSORBOARD = "samples", "checkpoints", "tensorboard"  # folders
# The configuration is the last: while it is there, the folder holds a run.
_FILES = (CHECKPOINT, BEST, METRICS, EVALUATION, ENVIRONMENT, HISTORY, SAMPLES, CURVES, ANIMATION,
          REPORT, CONFIG)  # fmt: skip
_NUMBERED = {
    EARLIER: re.compile(r"\d{6,}\.pt"),
    FRAMES: re.compile(r"\d{6,}\.png"),
    TENSORBOARD: re.compile(r"events\.out\.tfevents\..*"),
}


def numbered(path: Path, folder: str) -> list[Path]:
    """Returns the files that a run wrote into one of its folders, in the order of their numbers if
    they have numbers; none if there is no such folder."""
    name = _NUMBERED[folder]
    found = (path / folder).iterdir() if (path / folder).is_dir() else ()
    files = [file for file in found if name.fullmatch(file.name)]
    # From a million on numbers have more digits, and names are not in their order.
    return sorted(files, key=lambda file: (len(file.name), file.name))


def written(path: Path) -> list[Path]:
    """Returns all files in a folder whose names are those of a run's files, the configuration
    last."""
    inner = [file for folder in _NUMBERED for file in numbered(path, folder)]
    return inner + [path / name for name in _FILES if (path / name).exists()]


def give_up_after(path: Path, iteration: int) -> None:
    """Removes what a run that went back left in the folder ``path`` of later iterations: numbered
    pictures, the animation that shows them, and the best checkpoint."""
    later = [picture for picture in numbered(path, FRAMES) if int(picture.stem) > iteration]
    if later:
        later.append(path / ANIMATION)
    with contextlib.suppress(FileNotFoundError, checkpoint.CheckpointError):
        if checkpoint.load(path / BEST)["trainer"]["iterations"] > iteration:
            later.append(path / BEST)
    for file in later:
        file.unlink(missing_ok=True)


def write_config(path: Path, config: TrainConfig) -> None:
    """Writes the configuration of the run in the folder ``path``."""
    content = {"format": FORMAT, **dataclasses.asdict(config)}
    write_text(path / CONFIG, json.dumps(content, indent=2) + "\n")


def read_config(file: Path) -> TrainConfig:
    """Returns the configuration in a file that :func:`write_config` or an older version wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a configuration, or its ``format`` is another.
    """
    try:
        return TrainConfig(**_options(json.loads(file.read_text(encoding="utf-8"))))
    except (TypeError, ValueError) as error:
        raise ValueError(f"resume: {file} is not a configuration: {error}") from error


def holds_run(path: Path) -> bool:
    """Returns whether the folder holds a run of this library, by its configuration or, if that is
    missing or damaged, by its checkpoint."""
    try:
        content = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        _ = TrainConfig(**_options(content))
        if is_configuration(content):
            return True
    except (OSError, TypeError, ValueError):
        pass
    try:
        checkpoint.load(path / CHECKPOINT)
    except (OSError, checkpoint.CheckpointError):
        return False
    return True


def _options(content: Any) -> dict[str, Any]:
    """Returns the content of config.json without its format."""
    if not isinstance(content, dict):
        raise TypeError(f"expected names and values, got {content!r}")
    kind = content.get("format", FORMAT)
    if kind != FORMAT:
        raise ValueError(f"format: expected {FORMAT!r}, got {kind!r}")
    return {name: value for name, value in content.items() if name != "format"}
