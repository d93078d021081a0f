"""The results as plots."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.common.records import Row


def save_densities(path: Path, entries: list[Row]) -> None:
    """A panel for each of a few chains at its smallest step: bins as measured, the closed form, the
    target. The upper row is plain, the lower one has feedback."""
    blocks = [_size(r) for r in entries if r["chain"].startswith("Block")]
    wanted = {"Top-k 0.5", "Top-k 0.1", "Top-k 0.01", f"Block-Sign {max(blocks):.0f}"}
    names = [n for n in dict.fromkeys(r["chain"] for r in entries) if n in wanted]
    figure = Figure(figsize=(3 * len(names), 5.2), layout="constrained")
    for row, feedback in zip(figure.subplots(2, len(names)), (False, True), strict=True):
        for axes, name in zip(row, names, strict=True):
            chain = name + " + feedback" * feedback
            same = [r for r in entries if r["chain"] == chain]
            _density(axes, min(same, key=lambda r: r["step_size"]))
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=80)


def _density(axes: Axes, row: Row) -> None:
    edges = np.array(row["edges"])
    width, middle = np.diff(edges), (edges[1:] + edges[:-1]) / 2
    measured, error = (np.array(row[name])[1:-1] / width for name in ("mass", "mass_error"))
    axes.errorbar(middle, measured, 2 * error, fmt="C0.", markersize=3, label="measured")
    if not row["feedback"]:
        axes.plot(middle, np.array(row["mass_expected"])[1:-1] / width, "C1", label="closed form")
    target = np.exp(-(middle**2) / 2) / math.sqrt(2 * math.pi)
    axes.plot(middle, target, "k:", linewidth=1, label="target")
    axes.set_yscale("log")
    axes.set_ylim(2e-5, 1)
    axes.set_title(f"{row['chain']}, step {row['step_size']:g}", fontsize=8)
    axes.tick_params(labelsize=7)


def save_bias(path: Path, entries: list[Row], delays: list[Row]) -> None:
    """Variance against k/d, against the block size, and with feedback against step * d / k."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    ratio, block, feedback = figure.subplots(1, 3)
    plain = [r for r in entries if not r["feedback"]]
    for axes, kind in ((ratio, "Top-k"), (block, "Block-Sign")):
        rows = [r for r in plain if r["chain"].startswith(kind)]
        line = sorted({(_size(r), r["variance_expected"]) for r in rows})
        axes.plot(*zip(*line, strict=True), "k-", linewidth=1, label="closed form")
        for step in sorted({r["step_size"] for r in rows}):
            same = [r for r in rows if r["step_size"] == step]
            _points(axes, same, [_size(r) for r in same], "o", f"step {step:g}")
    fed = [r for r in entries + delays if r["feedback"] and _converged(r)]
    topk = [r for r in fed if r["chain"].startswith("Top-k")]
    _points(feedback, topk, [r["step_size"] / _size(r) for r in topk], "o", "Top-k")
    for size in sorted({_size(r) for r in fed if r["chain"].startswith("Block-Sign")}):
        rows = [r for r in fed if r["chain"].startswith(f"Block-Sign {size:.0f} ")]
        _points(feedback, rows, [r["step_size"] for r in rows], "x--", f"Block-Sign {size:.0f}")
    at = np.geomspace(0.002, 6, 50)
    feedback.plot(at, at / (2 * math.pi), "k-", linewidth=1, label="first order, Top-k")
    for axes, label in ((ratio, "k / d"), (block, "block"), (feedback, "step d / k, or step")):
        axes.set(xscale="log", yscale="log", xlabel=label, ylabel="variance")
        axes.legend(fontsize=6)
        axes.grid(alpha=0.3)
    feedback.set_ylabel("variance - 1, with feedback")
    figure.savefig(path, dpi=100)


def _converged(row: Row) -> bool:
    return None not in row["variance"] and row["variance"][0] < 100


def _size(row: Row) -> float:
    return float(row["chain"].split()[1])


def _points(axes: Axes, rows: list[Row], at: list[float], style: str, label: str) -> None:
    """Variances, or what is left of them above 1 with feedback, there by the identity, whose errors
    are the smaller."""
    kept = [r["variance_by_identity" if r["feedback"] else "variance"] for r in rows]
    value = [v - r["feedback"] for (v, _), r in zip(kept, rows, strict=True)]
    axes.errorbar(at, value, [e for _, e in kept], fmt=style, label=label, markersize=3)
