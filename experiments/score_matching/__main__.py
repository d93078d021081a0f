"""What finite differences save score matching, and what they cost it.

    python -m experiments.score_matching --quick
    python -m experiments.score_matching --out runs/score_matching

Three parts, all or some (``--parts cost,agreement,learning``): time and memory of a step
(``score_cost.py``), parameter gradients against exact ones (``score_agreement.py``), and digits:
curves, samples and out-of-distribution detection (``score_learning.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from matplotlib.figure import Figure

from effebm_ext.runs.data.dataset import load
from effebm_ext.runs.showing import plotting
from experiments.common.over_seeds import aligned, mean
from experiments.common.parts import make_parts, parse_parts
from experiments.common.records import Row
from experiments.score_matching import agreement as score_agreement
from experiments.score_matching import cost as score_cost
from experiments.score_matching import learning as score_learning

PARTS = ("cost", "agreement", "learning")
_COLOURS = {
    "ssm": "C0",
    "fd_ssm": "C0",
    "fd-ssm": "C0",
    "dsm": "C1",
    "fd_dsm": "C1",
    "fd-dsm": "C1",
}


def cost_table(found: Row) -> str:
    lines = [["method", "ms per step", "kept, MB", "peak, MB"]]
    for row in found["steps"]:
        memory = [f"{row[name] / 1e6:.3g}" for name in ("kept_bytes", "peak_bytes")]
        lines.append([row["method"], f"{1e3 * row['seconds']:.3g}", *memory])
    for row in found["ratios"]:
        figures = [f"{row[name]:.2f}" for name in ("seconds", "kept_bytes", "peak_bytes")]
        lines.append([row["pair"], *figures])
    return aligned(lines)


def agreement_table(rows: list[Row]) -> str:
    """Relative errors of the gradient, a line for every epsilon."""
    columns = list(dict.fromkeys((row["method"], row["dtype"]) for row in rows))
    errors = {(row["method"], row["dtype"], row["epsilon"]): row["error"] for row in rows}
    lines = [["epsilon", *(f"{method}, {dtype}" for method, dtype in columns)]]
    for epsilon in dict.fromkeys(row["epsilon"] for row in rows):
        lines.append([f"{epsilon:g}", *(f"{errors[(*column, epsilon)]:.1e}" for column in columns)])
    return aligned(lines)


def learning_table(rows: list[Row]) -> str:
    """At the end of training, means over seeds with their standard errors."""
    lines = [["method", "held-out SM loss", "seconds", *(f"AUROC, {o}" for o in rows[0]["auroc"])]]
    for method in score_learning.METHODS:
        own = [row for row in rows if row["method"] == method]
        ends = [row["curve"][-1] for row in own]
        figures = [[e["sm"] for e in ends], [e["seconds"] for e in ends]]
        figures += [[row["auroc"][other] for row in own] for other in rows[0]["auroc"]]
        shown = [f"{m.value:.4g} ± {m.error:.2g}" for m in map(mean, figures)]
        lines.append([method, *shown])
    return aligned(lines)


def save_agreement(path: Path, rows: list[Row]) -> None:
    """Relative errors against epsilon: dashed for float64."""
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    for method, dtype in dict.fromkeys((row["method"], row["dtype"]) for row in rows):
        own = [row for row in rows if (row["method"], row["dtype"]) == (method, dtype)]
        line = "o-" if dtype == "float32" else "s--"
        points = [row["epsilon"] for row in own], [row["error"] for row in own]
        axes.plot(*points, line, color=_COLOURS[method], label=f"{method}, {dtype}", markersize=4)
    axes.set(xscale="log", yscale="log", xlabel="epsilon", ylabel="relative error of the gradient")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    plotting.save(path, figure)


def save_curves(path: Path, rows: list[Row]) -> None:
    """Held-out loss against the clock, a line for every run: dashed without finite differences."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        finite, curve = row["method"].startswith("fd-"), row["curve"][1:]
        axes.plot(
            [point["seconds"] for point in curve],
            [point["sm"] for point in curve],
            "-" if finite else "--",
            color=_COLOURS[row["method"]],
            label=row["method"] if row["seed"] == 0 else None,
            linewidth=0.9,
        )
    axes.set(xlabel="seconds of training", ylabel="held-out score matching loss")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    plotting.save(path, figure)


def cost(quick: bool, seeds: int, out: Path | None) -> Row:
    """Time and memory of a step."""
    steps = score_cost.measure("quick" if quick else "full", score_cost.METHODS)
    found = {"steps": steps, "ratios": score_cost.ratios(steps)}
    click.echo("\n" + cost_table(found))
    return found


def agreement(quick: bool, seeds: int, out: Path | None) -> list[Row]:
    """Errors of gradients."""
    rows = score_agreement.measure(load("digits"), quick)
    click.echo("\n" + agreement_table(rows))
    if out is not None:
        save_agreement(out / "agreement.png", rows)
    return rows


def learning(quick: bool, seeds: int, out: Path | None) -> list[Row]:
    """Curves, samples and AUROC."""
    dataset = load("digits")
    rows, drawn = score_learning.measure(dataset, seeds, quick)
    click.echo("\n" + learning_table(rows))
    if out is not None:
        save_curves(out / "curves.png", rows)
        for method, x in drawn.items():
            plotting.save(
                out / f"samples-{method}.png", plotting.draw_samples(x, dataset.x, is_image=True)
            )
    return rows


_RUN: dict[str, Callable[[bool, int, Path | None], Any]] = {
    "cost": cost,
    "agreement": agreement,
    "learning": learning,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--parts", default=",".join(PARTS), help="which, separated by commas")
@click.option("--quick", is_flag=True, help="small networks and few steps, in seconds")
@click.option("--seeds", type=click.IntRange(min=2), default=3, help="runs of every method")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder of results.json and pictures; parts of earlier runs stay")  # fmt: skip
def main(parts: str, quick: bool, seeds: int, out: Path | None) -> None:
    """Compare score matching with and without finite differences."""
    chosen = parse_parts(parts, PARTS)
    make_parts(chosen, quick, lambda part: {"results": _RUN[part](quick, seeds, out)}, out)


if __name__ == "__main__":
    main()
