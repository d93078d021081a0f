"""What the experiments keep: where they ran and what their runs found, as JSON has it."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import math
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

import effebm_ext as eff
from effebm_ext import _C

Row = dict[str, Any]
_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn")


def environment() -> Row:
    """Of results that depend on it."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "effebm_ext": eff.__version__,
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "instruction_set": _C.cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def source_name(data: str) -> str:
    """The name of a source of data, or of its file, without the folder of this machine."""
    return Path(data.partition(":")[0]).stem


def plain(value: Any) -> Any:
    """As JSON has it, to six digits; None for what is not finite."""
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


class Log:
    """The runs that have ended, a line of JSON each, in a file if there is a folder for it."""

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / "runs.jsonl"
        self.rows: list[Row] = []
        if self.path is not None and self.path.exists():
            whole = [s for s in self.path.read_text().splitlines(keepends=True) if s[-1] == "\n"]
            self.path.write_text("".join(whole))  # without one that was cut off
            self.rows = [json.loads(line) for line in whole]

    def find(self, config: Any) -> Row | None:
        """A run of exactly this configuration, a dataclass."""
        wanted = dataclasses.asdict(config)
        return next((row for row in self.rows if row["config"] == wanted), None)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if self.path is not None:
            with open(self.path, "a") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
