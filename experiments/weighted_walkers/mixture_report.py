"""What the runs on the mixture say: a table and a plot."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from experiments.common.records import Row

_COLUMNS = {
    "mass (1/4)": "mass", "KL of masses": "kl_masses", "KL": "kl", "distance": "distance",
    "ESS/N": "ess", "log Z error": "log_z_error", "acceptance": "acceptance",
    "resampled": "resampled",
}  # fmt: skip


def table(rows: list[Row]) -> str:
    """Mean over seeds, and the largest deviation from it."""
    lines = [f"{'arm':<28}" + "".join(f"{name:>20}" for name in _COLUMNS)]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        of_arm = [row for row in rows if row["arm"] == arm]
        cells = [_cell([row.get(key) for row in of_arm]) for key in _COLUMNS.values()]
        lines.append(f"{arm:<28}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def _cell(values: list[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    if not numbers:
        return "-"
    mean = sum(numbers) / len(numbers)
    return f"{mean:.4g} ± {max(abs(n - mean) for n in numbers):.2g}"


def save_plot(path: Path, rows: list[Row]) -> None:
    """Mass of the first mode and KL of the masses against steps, all seeds."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey="row")
    for column, kind in enumerate((None, "top-k", "block-sign")):
        arms = list(dict.fromkeys(row["arm"] for row in rows if row["compressed"] == kind))
        for axes, key in zip(panels[:, column], ("mass", "kl_masses"), strict=True):
            for i, arm in enumerate(arms):
                for j, row in enumerate(r for r in rows if r["arm"] == arm):
                    steps = [h["step"] for h in row["history"]]
                    values = [h[key] for h in row["history"]]
                    axes.plot(steps, values, f"C{i}", linewidth=1, label=arm if j == 0 else None)
            if arms:
                axes.legend(fontsize=7)
        panels[0, column].axhline(0.25, color="k", linewidth=0.5)
        panels[1, column].set_yscale("log")
        panels[1, column].set_xlabel("steps")
    panels[0, 0].set_ylabel("mass of the first mode")
    panels[1, 0].set_ylabel("KL of the masses")
    figure.savefig(path, dpi=80)
