"""What the runs on digits say: a table, sentences and a plot."""

from __future__ import annotations

import itertools
from pathlib import Path

from matplotlib.figure import Figure

from experiments.common.over_seeds import Mean, aligned, is_better, mean, show, verdict
from experiments.common.records import Row

LARGEST_GAP = 1.0
_LINES = {
    "none": "k^-",
    "clip 5": "C7v-",
    "clip 10": "C7v--",
    "Top-k": "C0o-",
    "Top-k + feedback": "C0s--",
    "Block-Sign": "C1o-",
    "Block-Sign + feedback": "C1s--",
    "none, averaged noise": "k^:",
    "Top-k + feedback, averaged noise": "C0s:",
    "Block-Sign + feedback, averaged noise": "C1s:",
}


class Cell:
    """The runs of one arm at one step size."""

    def __init__(self, runs: list[Row]) -> None:
        self.arm, self.step_size = runs[0]["arm"], runs[0]["step_size"]
        self.runs = {run["seed"]: run for run in runs if run["diverged"] is None}
        self.diverged = 1 - len(self.runs) / len(runs)

    def mean(self, name: str) -> Mean | None:
        values = [run[name] for run in self.runs.values()]
        return mean(values) if len(values) > 1 else None

    def score(self) -> Mean | None:
        """Cross-entropy."""
        values = [cross_entropy(run) for run in self.runs.values()]
        return mean(values) if len(values) > 1 else None

    def disagreement(self) -> float:
        """Of the two directions of AIS, on average."""
        gaps = [abs(run["reverse"] - run["forward"]) for run in self.runs.values()]
        return sum(gaps) / max(1, len(gaps))

    def minus(self, other: Cell) -> Mean | None:
        """Difference in cross-entropy, paired by seeds, which share their held-out digits."""
        both = self.runs.keys() & other.runs.keys()
        if len(both) < 2:
            return None
        return mean(
            [cross_entropy(self.runs[s]) - cross_entropy(other.runs[s]) for s in sorted(both)]
        )


def cross_entropy(run: Row) -> float:
    """By Bennett's estimate, or the middle of forward and reverse of a run that was made before
    there was one."""
    value: float = run.get("bennett", (run["forward"] + run["reverse"]) / 2)
    return value


def cells(found: Row) -> list[Cell]:
    """In the order of the arms, then of the step sizes."""
    arms = list(found["settings"]["arms"])
    runs = sorted(found["runs"], key=lambda r: (arms.index(r["arm"]), r["step_size"]))
    groups = itertools.groupby(runs, key=lambda r: (r["arm"], r["step_size"]))
    return [Cell(list(group)) for _, group in groups]


def best(all_cells: list[Cell]) -> dict[str, Cell]:
    """Of every arm the step size of the lowest cross-entropy, among those where no run diverged."""
    kept: dict[str, Cell] = {}
    for cell in all_cells:
        if cell.diverged or (score := cell.score()) is None:
            continue
        so_far = kept[cell.arm].score() if cell.arm in kept else None
        if so_far is None or score.value < so_far.value:
            kept[cell.arm] = cell
    return kept


def text(found: Row) -> str:
    """Tables and findings."""
    return "\n\n".join([table(found), memory_table(found), "\n".join(findings(found))])


def table(found: Row) -> str:
    """Cross-entropies of every arm at every step size."""
    rows = [["arm", "step size", "forward", "reverse", "AIS error", "energy gap", "diverged", ""]]
    all_cells = cells(found)
    chosen = best(all_cells).values()
    for cell in all_cells:
        errors = (cell.mean(f"{way}_ais_error") for way in ("forward", "reverse"))
        ais = ", ".join(f"{error.value:.2f}" if error else "-" for error in errors)
        forward, reverse, gap = (
            show(cell.mean(name)) for name in ("forward", "reverse", "energy_gap")
        )
        row = [cell.arm, f"{cell.step_size:g}", forward, reverse, ais, gap, f"{cell.diverged:.0%}"]
        rows.append([*row, "best" if cell in chosen else ""])
    settings = found["settings"]
    return (
        f"cross-entropy of held-out digits in nats, mean of {len(settings['seeds'])} seeds "
        f"± standard error; {settings['gradient_evaluations']:,} gradient evaluations a run\n"
        f"{aligned(rows)}\nGaussian of full covariance: {show(mean(found['gaussian']))}"
    )


def memory_table(found: Row) -> str:
    """Bytes per chain."""
    rows = [["arm", "state", "residual", "a stored drift", "all"]]
    for arm, sizes in found["bytes_per_chain"].items():
        figures = [sizes[name] for name in ("state", "residual", "drift")]
        rows.append([arm, *map(str, [*figures, sum(figures)])])
    return "bytes per chain\n" + aligned(rows)


def findings(found: Row) -> list[str]:
    """What the figures say, a sentence each, whatever they say."""
    all_cells = cells(found)
    chosen = best(all_cells)
    baseline = mean(found["gaussian"])
    lines = []
    for arm in found["settings"]["arms"]:
        if arm not in chosen:
            lines.append(f"{arm}: runs diverged at every step size.")
    if not chosen:
        return lines
    scores = {arm: cell.score().value for arm, cell in chosen.items()}
    first = min(scores, key=scores.__getitem__)
    lines.append(
        f"The lowest cross-entropy is that of {_named(chosen[first])}, {scores[first]:.2f} nats; "
        f"a Gaussian has {baseline.value:.2f}."
    )
    behind = [arm for arm, score in scores.items() if score > baseline.value]
    if behind:
        lines.append(f"Worse than the Gaussian even at their best: {', '.join(behind)}.")
    unsure = [_named(cell) for cell in all_cells if cell.disagreement() > LARGEST_GAP]
    if unsure:
        lines.append(
            f"AIS forward and reverse are more than {LARGEST_GAP:g} nat apart, so neither is to be "
            f"trusted to a nat: {', '.join(unsure)}."
        )
    grid = found["settings"]["step_sizes"]
    ends = [arm for arm, cell in chosen.items() if cell.step_size in (grid[0], grid[-1])]
    if ends:
        lines.append(f"Best at an end of the grid, so perhaps better beyond it: {', '.join(ends)}.")
    arms = found["settings"]["arms"]
    compressed = [cell for arm, cell in chosen.items() if "compressor" in arms[arm]]
    references = [cell for cell in chosen.values() if cell not in compressed]
    for i, reference in enumerate(references):
        lines += [_against(cell, reference) for cell in references[i + 1 :]]
        lines += [_against(cell, reference) for cell in compressed]
        winners = [cell.arm for cell in compressed if is_better(cell.minus(reference))]
        said = f"better than {reference.arm} by more than the seeds' scatter explains"
        lines.append(f"Compressed arms {said}: {', '.join(winners) or 'none of them'}.")
    return lines + _feedback(all_cells)


def _against(cell: Cell, reference: Cell) -> str:
    return f"{_named(cell)} against {_named(reference)}: {verdict(cell.minus(reference))}."


def _feedback(all_cells: list[Cell]) -> list[str]:
    """What error feedback mends at every step size, and what it leaves."""
    by_name = {(cell.arm, cell.step_size): cell for cell in all_cells}
    lines = []
    for (arm, step_size), cell in by_name.items():
        fed = by_name.get((f"{arm} + feedback", step_size))
        if fed is not None:
            mended, left = (verdict(fed.minus(c)) for c in (cell, by_name["none", step_size]))
            lines.append(f"{_named(fed)} against {arm} alone: {mended}; against none: {left}.")
    return lines


def _named(cell: Cell) -> str:
    return f"{cell.arm} (step size {cell.step_size:g})"


def save_plot(path: Path, found: Row) -> None:
    """Cross-entropy against step size, bars of one standard error: all arms on the left, those
    below the Gaussian nearer by on the right."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    panels = figure.subplots(1, 2)
    all_cells, gaussian = cells(found), mean(found["gaussian"]).value
    for place, (arm, line) in enumerate(_LINES.items()):
        points = [(c.step_size, s) for c in all_cells if c.arm == arm and (s := c.score())]
        at = [step_size * 1.03 ** (place - 3) for step_size, _ in points]  # so that all bars show
        values, errors = [s.value for _, s in points], [s.error for _, s in points]
        for axes in panels:
            axes.errorbar(at, values, errors, fmt=line, label=arm, markersize=4, capsize=2)
    for axes in panels:
        axes.axhline(gaussian, color="k", linestyle=":", label="Gaussian")
        axes.set(xscale="log", xlabel="step size", ylabel="held-out cross-entropy, nats")
        axes.set_xticks(found["settings"]["step_sizes"], map(str, found["settings"]["step_sizes"]))
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    scores = [cell.score().value for cell in best(all_cells).values()]
    panels[1].set_ylim(min(scores, default=gaussian) - 1, gaussian + 0.5)
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=100)
