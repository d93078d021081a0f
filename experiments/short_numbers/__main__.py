"""Which short numbers may chains be kept and moved in?

    python -m experiments.short_numbers --quick
    python -m experiments.short_numbers --out runs/short-numbers

The findings are in docs/short_numbers.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import click
from torch import Tensor

from effebm_ext.runs.data.dataset import load
from experiments.common.over_seeds import aligned, mean, show, verdict
from experiments.common.records import Row, environment, plain
from experiments.digits.report import cross_entropy
from experiments.short_numbers import digits, gaussian

REFERENCES = ("buffer, float32", "chains, float32")


def variances(measure: Callable[..., Tensor], arms: Iterable[str], value: Any, scale: Any) -> Row:
    """Returns the variance of every arm at one setting, and what it is over float32, where chains
    have the same noise: each with its standard error over the chains."""
    rows, exact = {}, None
    for arm in arms:  # float32 comes first
        squares = measure(arm, value, scale)
        exact = squares if exact is None else exact
        rows[arm] = {
            "variance": squares.mean(),
            "error": squares.std() / math.sqrt(len(squares)),
            "excess": (squares - exact).mean(),
            "excess_error": (squares - exact).std() / math.sqrt(len(squares)),
        }
    return plain(rows)


def table_of_variances(found: dict[Any, Row], setting: str) -> str:
    """One line per setting and arm."""
    lines = [["arm", setting, "variance", "over float32"]]
    for value, rows in found.items():
        for arm, row in rows.items():
            variance = f"{row['variance']:.4f} ± {row['error']:.4f}"
            excess = f"{row['excess']:+.5f} ± {row['excess_error']:.5f}"
            lines.append([arm, str(value), variance, excess])
    return aligned(lines)


def table_of_digits(rows: list[Row]) -> str:
    """Cross-entropies of each arm, and the difference from float32, paired by seeds."""
    lines = [["arm", "forward", "reverse", "against float32"]]
    for arm in digits.ARMS:
        reference = next(name for name in REFERENCES if name.split(",")[0] == arm.split(",")[0])
        own, exact = ([r for r in rows if r["arm"] == name] for name in (arm, reference))
        if any(r["diverged"] for r in own):
            lines.append([arm, "-", "-", "diverged"])
            continue
        both = ("forward", "reverse")
        differences = [cross_entropy(r) - cross_entropy(e) for r, e in zip(own, exact, strict=True)]
        compared = "" if arm == reference else verdict(mean(differences))
        lines.append([arm, *(show(mean([r[way] for r in own])) for way in both), compared])
    return aligned(lines)


class Study(NamedTuple):
    """Chains of a Gaussian: what is measured, of which arms, at which values of a setting, and how
    many of these a quick run takes."""

    title: str
    setting: str
    measure: Callable[..., Tensor]
    arms: Iterable[str]
    values: tuple[Any, ...]
    scale: gaussian.Scale = gaussian.FULL
    n_quick: int = 1


STUDIES = {
    "moving": Study(
        "Chains that move in short numbers", "step_size",
        gaussian.moving, gaussian.MOVING, gaussian.STEP_SIZES,
    ),
    "resting": Study(
        "Chains that rest in short numbers", "steps",
        gaussian.resting, gaussian.RESTING, gaussian.STEPS_PER_VISIT, n_quick=2,
    ),
    "gradients": Study(
        "Gradients in short numbers", "step_size", gaussian.gradients, gaussian.GRADIENTS,
        gaussian.GRADIENT_STEP_SIZES, gaussian.GRADIENT_SCALE,
    ),
}  # fmt: skip


def studied(study: Study, quick: bool) -> dict[Any, Row]:
    """Returns the variances of all arms at every value of the setting."""
    scale = gaussian.QUICK if quick else study.scale
    values = study.values[: study.n_quick] if quick else study.values
    found = {v: variances(study.measure, study.arms, v, scale) for v in values}
    click.echo(f"{study.title}\n" + table_of_variances(found, study.setting))
    return found


def trained(quick: bool, seeds: int) -> list[Row]:
    """Trains on digits with all arms."""
    dataset, found = load("digits"), list[Row]()
    tasks = [(seed, arm) for seed in range(seeds) for arm in digits.ARMS]
    with click.progressbar(tasks, item_show_func=lambda task: task and task[1]) as bar:
        for seed, arm in bar:
            config = digits.configuration(arm, seed, quick=quick)
            found.append({"arm": arm, "seed": seed, **digits.run(arm, config, dataset)})
    click.echo("Training on digits\n" + table_of_digits(found))
    return found


_PARTS = (*STUDIES, "digits")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--quick", is_flag=True, help="small sizes, in seconds")
@click.option("--seeds", type=click.IntRange(min=2), default=4, help="runs of every arm on digits")
@click.option("--part", "parts", multiple=True, type=click.Choice(_PARTS), default=_PARTS,
              help="what to measure; other parts stay in results.json")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder of results.json")  # fmt: skip
def main(quick: bool, seeds: int, parts: tuple[str, ...], out: Path | None) -> None:
    """Measure the law of chains in short numbers, and train on digits with them."""
    file = None if out is None else out / "results.json"
    found: Row = json.loads(file.read_text()) if file is not None and file.exists() else {}
    for part in parts:
        study = STUDIES.get(part)
        found[part] = plain(trained(quick, seeds) if study is None else studied(study, quick))
        found["environment"] = environment()
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
