"""What the runs say: tables and a plot."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from effebm_ext.runs.showing import plotting
from experiments.common.over_seeds import aligned
from experiments.common.records import Row
from experiments.out_of_distribution.detection import GROUPS, KINDS

_NORMAL = 1.96  # half the width of a 95 % interval in standard errors
_MARKS = {"energy": "o", "typicality of 2": "s"}


def interval(runs: list[Row], score: str, kind: str) -> tuple[float, float, float]:
    """Returns the mean AUROC over the seeds, and the lowest and the highest end of their 95 %
    intervals."""
    found = [run["detection"][score][kind] for run in runs]
    low = min(f["auroc"] - _NORMAL * f["error"] for f in found)
    high = max(f["auroc"] + _NORMAL * f["error"] for f in found)
    return sum(f["auroc"] for f in found) / len(found), max(0.0, low), min(1.0, high)


def precision(runs: list[Row], score: str, kind: str) -> float:
    """Returns the mean average precision over the seeds."""
    return sum(r["detection"][score][kind]["average_precision"] for r in runs) / len(runs)


def losses(runs: list[Row]) -> str:
    """Returns a table of the losses of held-out pictures and the time of training."""
    lines = [["trained on", "objective", "seeds", "SM loss by seed", "core seconds"]]
    for data, arm in _cells(runs):
        own = _of(runs, data, arm)
        values = " ".join("-" if r["loss"] is None else f"{r['loss']:.0f}" for r in own)
        seconds = sum(r["core_seconds"] for r in own) / len(own)
        lines.append([data, arm, str(len(own)), values, f"{seconds:.0f}"])
    return aligned(lines)


def table(runs: list[Row], score: str) -> str:
    """Returns a table of AUROC with its interval and average precision, a line for every objective
    and a column for every kind of pictures."""
    lines = [["trained on", "objective", *KINDS]]
    for data, arm in _cells(runs):
        own = _of(runs, data, arm)
        cells = []
        for kind in KINDS:
            value, low, high = interval(own, score, kind)
            cells.append(f"{value:.3f} ({low:.3f}-{high:.3f}) {precision(own, score, kind):.3f}")
        lines.append([data, arm, *cells])
    return aligned(lines)


def text(runs: list[Row]) -> str:
    parts = [losses(runs)]
    about = "AUROC (95 % interval over all seeds) and average precision, by"
    parts += [f"{about} {score}:\n{table(runs, score)}" for score in GROUPS]
    return "\n\n".join(parts)


def save_plot(path: Path, runs: list[Row]) -> None:
    """AUROC of every kind of pictures, a panel for every set, with intervals: circles by the
    energy, squares by typicality of pairs."""
    sets = list(dict.fromkeys(run["data"] for run in runs))
    arms = list(dict.fromkeys(run["arm"] for run in runs))
    figure = Figure(figsize=(5 * len(sets), 3.8), layout="constrained")
    for axes, data in zip(figure.subplots(1, len(sets), squeeze=False)[0], sets, strict=True):
        for i, arm in enumerate(arms):
            for j, (score, mark) in enumerate(_MARKS.items()):
                own = _of(runs, data, arm)
                found = [interval(own, score, kind) for kind in KINDS] if own else []
                at = [k + (len(_MARKS) * i + j + 0.5) / (len(_MARKS) * len(arms) + 1) - 0.5
                      for k in range(len(found))]  # fmt: skip
                values = [value for value, *_ in found]
                bars = [[v - low for v, low, _ in found], [high - v for v, _, high in found]]
                axes.errorbar(at, values, bars, fmt=mark, color=f"C{i}", markersize=4,
                              label=f"{arm}, {score}")  # fmt: skip
        axes.axhline(0.5, color="k", linestyle=":", linewidth=0.8)
        axes.set(title=f"trained on {data}", ylabel="AUROC", ylim=(-0.03, 1.03))
        axes.set_xticks(range(len(KINDS)), KINDS)
        axes.legend(fontsize=7, loc="lower right")
    plotting.save(path, figure)


def _cells(runs: list[Row]) -> dict[tuple[str, str], None]:
    return dict.fromkeys((run["data"], run["arm"]) for run in runs)


def _of(runs: list[Row], data: str, arm: str) -> list[Row]:
    return [run for run in runs if (run["data"], run["arm"]) == (data, arm)]
