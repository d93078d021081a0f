"""The metrics of a run, ``metrics.jsonl``: a line of JSON per iteration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_metrics(path: Path, iterations: int) -> list[dict[str, float]]:
    """Returns the metrics of the first ``iterations``; later iterations are made again.

    Raises:
        ValueError: there are fewer, or a line is not numbers by name.
    """
    lines = path.read_text().splitlines()[:iterations]
    if len(lines) != iterations:
        raise ValueError(f"resume: expected {iterations} lines in {path}, got {len(lines)}")
    history: list[dict[str, float]] = []
    for number, line in enumerate(lines, 1):
        try:
            history.append(_numbers(json.loads(line)))
        except ValueError as error:
            raise ValueError(f"resume: line {number} of {path} is damaged: {error}") from error
    return history


def _numbers(metrics: Any) -> dict[str, float]:
    if not isinstance(metrics, dict) or not {"iteration", "seconds"} <= metrics.keys():
        raise ValueError("expected numbers by name, iteration and seconds among them")
    for name, value in metrics.items():
        if not isinstance(value, (int, float)):
            raise ValueError(f"expected a number for {name}, got {value!r}")
    return metrics
