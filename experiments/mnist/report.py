"""What the runs on pictures say: tables and a plot."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from effebm_ext.runs.showing import plotting
from experiments.common.over_seeds import aligned, mean, show
from experiments.common.records import Row
from experiments.mnist.memory import PARTS

_WAYS = ("bennett", "forward", "reverse")


def figures(found: Row, arm: str, name: str) -> list[float]:
    """Returns a figure of the runs of an arm that did not diverge."""
    runs = [run for run in found["runs"] if run["arm"] == arm and run["diverged"] is None]
    return [run[name] for run in runs]


def table(found: Row) -> str:
    """Returns cross-entropies in nats, means over the seeds, a line for every arm."""
    lines = [["arm", *_WAYS, "energy gap", "runs", "diverged"]]
    for arm in found["arms"]:
        runs = [run for run in found["runs"] if run["arm"] == arm]
        cells = []
        for name in (*_WAYS, "energy_gap"):
            values = figures(found, arm, name)
            cells.append(
                show(mean(values)) if len(values) > 1 else "".join(f"{v:.2f}" for v in values)
            )
        diverged = sum(run["diverged"] is not None for run in runs)
        lines.append([arm, *(cell or "-" for cell in cells), str(len(runs)), str(diverged)])
    gaussian = ", ".join(f"{value:.2f}" for value in found["gaussian"])
    return f"cross-entropy of held-out pictures, nats\n{aligned(lines)}\nGaussian: {gaussian}"


def memory_table(rows: list[Row]) -> str:
    """Returns bytes per chain by part, a line for every arm and setting."""
    lines = [["arm", "numbers", *PARTS]]
    lines += [[row["arm"], row["setting"], *(str(row[part]) for part in PARTS)] for row in rows]
    return "bytes per chain\n" + aligned(lines)


def save_plot(path: Path, found: Row) -> None:
    """Cross-entropy by Bennett's estimate of every run, a row for every arm."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for place, arm in enumerate(found["arms"]):
        values = figures(found, arm, "bennett")
        axes.plot(values, [place] * len(values), "o", markersize=4)
    for value in found["gaussian"]:
        axes.axvline(value, color="k", linestyle=":", linewidth=0.8)
    axes.set_yticks(range(len(found["arms"])), list(found["arms"]))
    axes.invert_yaxis()
    axes.set_xlabel("held-out cross-entropy, nats; dotted: a Gaussian")
    plotting.save(path, figure)
