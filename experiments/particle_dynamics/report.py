"""What is said of the runs of ``particle_dynamics.py``: table and plot."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.common.records import Row
from experiments.particle_dynamics.plane import log_density

_COLOURS = colormaps["magma"].resampled(16)  # few, for a small file
_SIDE, _PIXELS = 4.0, 64  # of the pictures
_COLUMNS = [
    ("log-likelihood", "log_likelihood", 4),
    ("below optimum", "below", 4),
    ("E(chains) - E(model)", "energy_of_chains", 3),
    ("move rms", "move_rms", 4),
    ("c", "step_correction", 3),
    ("it/s", "iterations_per_second", 1),
]


def _points() -> torch.Tensor:
    side = torch.linspace(-_SIDE, _SIDE, _PIXELS, dtype=torch.float64)
    return torch.cartesian_prod(side, side)


@torch.no_grad()
def density(energy: torch.nn.Module) -> list[list[float]]:
    """Of the model over the square that is shown, relative to its maximum, for a picture."""
    e = energy(_points().float()).double()
    return _picture(-e)


def _picture(log_values: torch.Tensor) -> list[list[float]]:
    relative = (log_values - log_values.max()).exp().view(_PIXELS, _PIXELS)
    return [[round(value, 3) for value in row] for row in relative.T.tolist()]


def by_arm(runs: list[Row]) -> dict[str, list[Row]]:
    """Runs of all seeds under the names of their arms."""
    arms: dict[str, list[Row]] = {}
    for run in runs:
        arms.setdefault(run["arm"], []).append(run)
    return arms


def table(found: Row) -> str:
    """A line per arm: means over the seeds that ended, with standard errors where there are
    several."""
    text = [["", *(heading for heading, *_ in _COLUMNS)]]
    for arm, runs in by_arm(found["runs"]).items():
        ended = [r | {"below": found["optimum"] - r["log_likelihood"]}
                 for r in runs if r["diverged"] is None]  # fmt: skip
        diverged = f" ({len(runs) - len(ended)} of {len(runs)} diverged)"
        cells = [_mean([r[name] for r in ended], digits) for _, name, digits in _COLUMNS]
        text.append([arm + diverged * (len(ended) < len(runs)), *cells])
    widths = [max(map(len, column)) for column in zip(*text, strict=True)]
    lines = [
        f"{name:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        for name, *cells in text
    ]
    edge = max((r["edge"] for r in found["runs"] if r["diverged"] is None), default=0.0)
    lines.append(
        f"The eight Gaussians themselves have {found['optimum']:.4f} nats; at most {edge:.0e} of a "
        "model's mass is at the edge of the grid."
    )
    return "\n".join(lines)


def _mean(values: list[float | None], digits: int) -> str:
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    mean = sum(known) / len(known)
    if len(known) == 1:
        return f"{mean:.{digits}f}"
    spread = math.sqrt(sum((v - mean) ** 2 for v in known) / (len(known) - 1))
    return f"{mean:.{digits}f} ± {spread / math.sqrt(len(known)):.{digits}f}"


def save_plot(path: Path, runs: list[Row], optimum: float) -> None:
    """Densities of the last seed beside the target, and log-likelihoods against iterations."""
    pictures = {run["arm"]: run["density"] for run in runs if run.get("density") is not None}
    pictures = {"the eight Gaussians": _picture(log_density(_points())), **pictures}
    across = math.ceil((len(pictures) + 1) / 2)
    figure = Figure(figsize=(2.6 * across, 5.4), layout="constrained")
    panels = figure.subplots(2, across).ravel()
    for axes, (name, picture) in zip(panels, pictures.items(), strict=False):
        axes.imshow(picture, origin="lower", interpolation="nearest", cmap=_COLOURS)
        axes.set_title(name, fontsize=8)
        axes.axis("off")
    for axes in panels[len(pictures) :]:
        axes.axis("off")
    _curves(panels[-1], runs, optimum)
    figure.savefig(path, dpi=80)


def _curves(axes: Axes, runs: list[Row], optimum: float) -> None:
    axes.axis("on")
    for number, (arm, same) in enumerate(by_arm(runs).items()):
        for first, run in enumerate(same):
            if run["curve"]:
                at, value = zip(*run["curve"], strict=True)
                below = [max(optimum - v, 1e-5) for v in value]
                axes.plot(at, below, f"C{number}", linewidth=0.8, label=arm if not first else None)
    axes.set(yscale="log", xlabel="iteration", ylabel="nats below optimum")
    axes.legend(fontsize=5)
    axes.tick_params(labelsize=6)
