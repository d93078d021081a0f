"""The metrics of a run, ``metrics.jsonl``: a line of JSON per iteration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from effebm_ext.warn import warn


def whole_lines(path: Path) -> list[dict[str, float]]:
    """Returns the metrics of all lines that are not damaged; none if there is no such file."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [metrics for metrics in map(_metrics, lines) if metrics is not None]


def read_metrics(path: Path, iterations: int) -> list[dict[str, float]]:
    """Returns the metrics of the first ``iterations``; later iterations are made again. Lines that
    are missing or damaged are left out with a warning, as a run goes on without them."""
    history: list[dict[str, float]] = []
    for metrics in whole_lines(path):
        last = history[-1]["iteration"] if history else 0
        if last < metrics["iteration"] <= iterations:
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
