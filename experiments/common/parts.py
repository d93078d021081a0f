"""Studies in parts, whose file of results keeps the parts of earlier runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from experiments.common.records import Row, environment


def parse_parts(text: str, known: Sequence[str]) -> list[str]:
    """Returns the parts of a study that an option names, separated by commas.

    Raises:
        click.BadParameter: one of them is not known.
    """
    chosen = text.split(",")
    if unknown := set(chosen) - set(known):
        raise click.BadParameter(f"expected some of {', '.join(known)}, got {sorted(unknown)}")
    return chosen


def make_parts(
    chosen: list[str], quick: bool, make: Callable[[str], Row], out: Path | None
) -> None:
    """Makes the parts, each with its environment, and after each one writes results.json into the
    folder ``out``, unless that is None."""
    found: Row = {}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        if (file := out / "results.json").exists():
            found = json.loads(file.read_text())
    for part in chosen:
        found[part] = {"environment": environment(), "quick": quick, **make(part)}
        if out is not None:
            text = json.dumps(found, indent=1, allow_nan=False)
            (out / "results.json").write_text(text + "\n")
