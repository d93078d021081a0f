"""The metrics of a run, ``metrics.jsonl``: a line of JSON per iteration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from effebm_ext.warn import warn


def read_metrics(path: Path, iterations: int) -> list[dict[str, float]]:
    """Returns the metrics of the first ``iterations``; later iterations are made again. Lines that
    are missing or damaged are left out with a warning, as a run goes on without them."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    history: list[dict[str, float]] = []
    for line in lines:
        metrics = _metrics(line)
        last = history[-1]["iteration"] if history else 0
        if metrics is not None and last < metrics["iteration"] <= iterations:
            history.append(metrics)
    missing = iterations - len(history)
    if missing:
        warn(
            f"{path} lacks {missing} of {iterations} iterations, or has them damaged; the run goes "
            "on, and its curves do without them"
        )
    return history


def _metrics(line: bytes) -> dict[str, float] | None:
    """Returns the numbers by name in a line; None if it is damaged."""
    try:
        metrics: Any = json.loads(line)
    except ValueError:
        return None
    if not isinstance(metrics, dict) or not {"iteration", "seconds"} <= metrics.keys():
        return None
    numbers = all(isinstance(value, (int, float)) for value in metrics.values())
    return metrics if numbers and isinstance(metrics["iteration"], int) else None
