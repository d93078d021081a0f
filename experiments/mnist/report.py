"""What the runs on pictures say: tables and a plot."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from effebm_ext.runs.showing import plotting
from experiments.common.over_seeds import aligned, mean, show
from experiments.common.records import Row
from experiments.mnist.memory import PARTS

BASELINE = "none"
_FIGURES = {
    "bennett": "Bennett", "forward": "forward", "reverse": "reverse", "energy_gap": "gap",
    "distance": "distance", "nearest of samples": "nearest", "seconds": "seconds",
}  # fmt: skip


def figures(found: Row, arm: str, name: str) -> list[float]:
    """Returns a figure of the runs of an arm that did not diverge."""
    runs = [run for run in found["runs"] if run["arm"] == arm and run["diverged"] is None]
    return [run[name] for run in runs if run[name] is not None]


def differences(found: Row, arm: str) -> list[float]:
    """Returns Bennett's cross-entropy of an arm less that of the arm without compression, seed by
    seed, of runs that did not diverge."""
    whole = {(run["arm"], run["seed"]): run for run in found["runs"] if run["diverged"] is None}
    seeds = [seed for a, seed in whole if a == arm and (BASELINE, seed) in whole]
    return [whole[arm, s]["bennett"] - whole[BASELINE, s]["bennett"] for s in seeds]


def table(found: Row) -> str:
    """Returns cross-entropies in nats and other figures, means over the seeds with their standard
    errors, a line for every arm."""
    lines = [["arm", *_FIGURES.values(), f"less {BASELINE}", "runs", "diverged"]]
    for arm in found["arms"]:
        runs = [run for run in found["runs"] if run["arm"] == arm]
        columns = [figures(found, arm, name) for name in _FIGURES] + [differences(found, arm)]
        cells = [
            show(mean(values)) if len(values) > 1 else "".join(f"{v:.2f}" for v in values)
            for values in columns
        ]
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


def save_memory_plot(path: Path, found: Row) -> None:
    """Bytes of all chains against cross-entropy by Bennett's estimate, of every run."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes: Axes = figure.subplots()
    for number, arm in enumerate(found["arms"]):
        values = figures(found, arm, "bennett")
        marker = "os^Dv<>pP*Xd"[number % 12]
        size = [found["bytes"][arm] / 1e6] * len(values)
        axes.plot(size, values, marker, markersize=5, label=arm, alpha=0.8)
    axes.set_xlabel("chains, their residuals, gradients and activations, MB")
    axes.set_ylabel("held-out cross-entropy, nats")
    axes.legend(fontsize=7)
    plotting.save(path, figure)
