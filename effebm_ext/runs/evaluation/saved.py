"""Evaluations as files of JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from effebm_ext.runs.atomic_files import write_text
from effebm_ext.runs.evaluation.results import ClassEvaluation, Evaluation


def save_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Writes an evaluation as JSON, which has no infinity and no nan: an error that is unknown, as
    that of a single chain, is null.

    Raises:
        effebm_ext.runs.atomic_files.DiskFullError: there is no room for the file.
    """
    content = _finite(dataclasses.asdict(evaluation))
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_evaluation(path: Path) -> Evaluation | None:
    """Returns the evaluation in a file that :func:`save_evaluation` or an earlier release wrote,
    which wrote ``Infinity``; None if the file is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not content:
        return None
    classes = tuple(ClassEvaluation(**_known(ClassEvaluation, c)) for c in content["classes"])
    return Evaluation(**{**_known(Evaluation, content), "classes": classes})


def _finite(value: Any) -> Any:
    """Returns a value with None for every number in it that is not finite."""
    if isinstance(value, dict):
        return {name: _finite(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _known(kind: type[Any], content: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of ``kind`` with the numbers for which null stands: infinity for the error
    of a figure that is there, and nan for a figure that every evaluation has."""
    always = {field.name for field in dataclasses.fields(kind) if field.type == "float"}
    found = dict(content)
    for name, value in content.items():
        figure = name.removesuffix("_error")
        if value is None and figure != name and (name in always or content.get(figure) is not None):
            found[name] = math.inf
        elif value is None and name in always:
            found[name] = math.nan
    return found
