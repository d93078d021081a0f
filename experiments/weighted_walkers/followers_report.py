"""The table and the picture of the study of followers."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.figure import Figure

from experiments.common.over_seeds import aligned, mean, show
from experiments.common.records import Row


def groups(rows: list[Row], study: str) -> dict[str, list[Row]]:
    """The runs of a study by their arms, without those that diverged."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["study"] == study and row.get("diverged") is None:
            found.setdefault(row["arm"], []).append(row)
    return found


def table(rows: list[Row]) -> str:
    """The errors of the running log Z, in nats."""
    lines = [
        ["Gaussian", "iteration", "training", "followers", "std over seeds", "stated", "ESS/N"]
    ]
    for arm, runs in groups(rows, "gaussian").items():
        for looks in zip(*(run["history"] for run in runs), strict=True):
            errors = [look["followers"] for look in looks]
            lines.append([
                arm, str(looks[0]["iteration"]),
                show(mean([look["training"] for look in looks])), show(mean(errors)),
                f"{math.sqrt(len(runs)) * mean(errors).error:.3f}",
                _stated(*(look["stated"] for look in looks)),
                f"{sum(run['ess'] for run in runs) / len(runs):.2f}",
            ])  # fmt: skip
    digits = [[
        "digits", "training, end", "followers, end", "followers, worst", "stated, end",
        "AIS gap, end", "ESS/N", "least ESS/N", "acceptance",
    ]]  # fmt: skip
    for arm, runs in groups(rows, "digits").items():
        for run in runs:
            end, accepted = run["history"][-1], run["acceptance"]
            worst = max((look["followers"] for look in run["history"]), key=abs)
            digits.append([
                arm, f"{end['training']:.2f}", f"{end['followers']:.2f}", f"{worst:.2f}",
                _stated(end["stated"]), f"{end['ais_gap']:.2f}", f"{run['ess']:.2f}",
                f"{run['least_ess']:.3f}", "" if accepted is None else f"{accepted:.2f}",
            ])  # fmt: skip
    lost = [f"{row['arm']}: {row['diverged']}" for row in rows if row.get("diverged")]
    return "\n\n".join([
        f"error of the running log Z in nats, ± standard error over seeds\n{aligned(lines)}",
        f"running log Z less that of AIS, in nats\n{aligned(digits)}",
        *lost,
    ])  # fmt: skip


def save_plot(path: Path, rows: list[Row]) -> None:
    """The errors against the iteration: of all Gaussian runs, and of the digits by arms."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for runs in list(groups(rows, "gaussian").values())[:1]:
        for run in runs:
            steps = [look["iteration"] for look in run["history"]]
            for name, colour in (("training", "tab:red"), ("followers", "tab:blue")):
                label = name if run is runs[0] else None
                left.plot(steps, [look[name] for look in run["history"]], color=colour, label=label)
    for arm, runs in groups(rows, "digits").items():
        history = runs[0]["history"]
        steps = [look["iteration"] / history[-1]["iteration"] for look in history]
        right.plot(steps, [look["followers"] for look in history], label=arm)
    left.set_ylabel("error of the running log Z, nats")
    left.set_xlabel("iteration")
    left.set_title("Gaussian")
    right.set_xlabel("share of the run")
    right.set_title("digits, followers")
    right.set_yscale("symlog", linthresh=1)
    for axes in (left, right):
        axes.axhline(0, color="k", linewidth=0.8)
        axes.grid(alpha=0.3)
    left.legend(fontsize=8)
    right.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=80)


def _stated(*errors: float | None) -> str:
    """The root mean square; an error that JSON has as None is infinite."""
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return "infinite"
    return f"{math.sqrt(sum(error**2 for error in known) / len(known)):.2f}"
