"""Is compression worth it? What it saves in bytes, beside what it costs in nats.

    python -m experiments.worth --out runs/worth

Nothing is trained here: the figures come from ``experiments/results/``, which the studies on
digits, on their remedies, on short numbers, on MNIST and on many processes have filled.
docs/worth.md has the findings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import click
from matplotlib.figure import Figure

from effebm_ext.runs.showing import plotting
from experiments.common.over_seeds import Mean, aligned, mean
from experiments.common.records import Row
from experiments.digits.report import cross_entropy
from experiments.mnist.__main__ import NUMBERS

RESULTS = Path(__file__).parents[1] / "results"
_STEP_SIZE = 0.02  # the default for small images
_ENTRIES, _PIXELS = 64, 784  # of a digit of 8 x 8, and of a picture of MNIST
_FLOAT = 4  # bytes
_TICKS, _NATS = (0.125, 0.25, 0.5, 1, 2, 4, 8), (-50, -10, -1, -0.5, 0, 0.5, 1, 10, 50, 200)
# Bytes of an entry and of its residual in a replay buffer; residuals beside uint8 are float8.
_RESTING = {"float32": 8, "bfloat16": 4, "float16": 4, "uint8": 2}


class Place(NamedTuple):
    """A place where compression saves bytes.

    Attributes:
        title: what is kept or sent.
        reference: the uncompressed arm.
        bytes: of an entry, by arms.
        runs: cross-entropies of the arms, by seeds.
    """

    title: str
    reference: str
    bytes: dict[str, float]
    runs: dict[str, dict[int, float]]

    def cost(self, arm: str) -> Mean | None:
        """Returns the nats that an arm is worse than the reference, paired by seeds; None for
        the reference and with fewer than two seeds."""
        both = sorted(self.runs[arm].keys() & self.runs[self.reference].keys())
        if arm == self.reference or len(both) < 2:
            return None
        return mean([self.runs[arm][seed] - self.runs[self.reference][seed] for seed in both])


def by_arm(rows: Iterable[Row]) -> dict[str, dict[int, float]]:
    """Returns the cross-entropies of the runs that did not diverge, by arms and seeds."""
    runs: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.get("diverged") is None:
            runs.setdefault(row["arm"], {})[row["seed"]] = cross_entropy(row)
    return runs


def kept_steps() -> Place:
    """The drift of a step that is kept, as weights, adjusted steps and trajectories do."""
    found = json.loads((RESULTS / "digits" / "results.json").read_text())
    lines = (RESULTS / "remedies" / "digits.jsonl").read_text().splitlines()
    # The states of chains with feedback are no samples; the later runs take samples half way.
    rows = [row for row in found["runs"] if "feedback" not in row["arm"]]
    rows = [r for r in (*rows, *map(json.loads, lines)) if r["step_size"] == _STEP_SIZE]
    runs = by_arm(row for row in rows if "clip" not in row["arm"])
    drifts = {arm: of["drift"] / _ENTRIES for arm, of in found["bytes_per_chain"].items()}
    sizes = {arm: drifts[arm.removesuffix(", averaged noise")] for arm in runs}
    return Place("a kept step, digits", "none", sizes, runs)


def buffers() -> Place:
    """Chains at rest in a replay buffer, with their residuals."""
    found = json.loads((RESULTS / "short_numbers" / "results.json").read_text())
    runs = by_arm(row for row in found["digits"] if row["arm"].startswith("buffer, "))
    runs = {arm.removeprefix("buffer, "): of for arm, of in runs.items()}
    sizes = {arm: _RESTING[arm] for arm in runs}
    return Place("a chain at rest, digits", "float32", sizes, runs)


def kept_steps_of_pictures() -> Place:
    """The drift of a step that is kept, on MNIST."""
    runs, rows = _mnist()
    runs = {arm: of for arm, of in runs.items() if not arm.startswith(("clip", "buffer"))}
    sizes = {arm: rows[arm]["drift"] / _PIXELS for arm in runs}
    return Place("a kept step, MNIST", "none", sizes, runs)


def buffers_of_pictures() -> Place:
    """Chains at rest in a replay buffer, with their residuals, on MNIST."""
    runs, rows = _mnist()
    runs = {arm: of for arm, of in runs.items() if arm.startswith("buffer")}
    sizes = {
        arm: (rows[arm]["resting chain"] + rows[arm]["resting residual"]) / _PIXELS for arm in runs
    }
    return Place("a chain at rest, MNIST", "buffer", sizes, runs)


def _mnist() -> tuple[dict[str, dict[int, float]], dict[str, Row]]:
    """Returns the cross-entropies, and the bytes of the parts of a chain, by arms."""
    found = json.loads((RESULTS / "mnist" / "results.json").read_text())
    rows = {
        row["arm"]: row
        for row in found["bytes_per_chain"]
        if row["setting"] == NUMBERS.get(row["arm"], "float32")
    }
    return by_arm(found["runs"]), rows


def messages() -> Place:
    """Gradients of parameters that processes send, every hook with its best learning rate."""
    lines = (RESULTS / "distributed" / "runs.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    runs: dict[str, dict[int, float]] = {}
    sizes: dict[str, float] = {}
    dense = next(row["payload"] for row in rows if row["hook"] == "dense")
    for hook in dict.fromkeys(row["hook"] for row in rows):
        by_rate: dict[float, dict[int, float]] = {}
        for row in rows:
            if row["hook"] == hook:
                by_rate.setdefault(row["learning_rate"], {})[row["seed"]] = row["cross_entropy"]
                sizes[hook] = _FLOAT * row["payload"] / dense
        runs[hook] = min(by_rate.values(), key=lambda of: sum(of.values()) / len(of))
    return Place("a gradient that is sent", "dense", sizes, runs)


PLACES = (kept_steps, kept_steps_of_pictures, buffers, buffers_of_pictures, messages)
_COLUMNS = 3  # of panels


def table(places: Iterable[Place]) -> str:
    """Returns a line for every arm of every place."""
    lines = [["place", "arm", "bytes", "saved", "nats", "95 % interval", "seeds"]]
    for place in places:
        for arm, size in place.bytes.items():
            cost, saved = place.cost(arm), place.bytes[place.reference] / size
            cells = ["", ""]
            if cost is not None:
                low, high = cost.value - cost.half_width, cost.value + cost.half_width
                cells = [f"{cost.value:+.2f}", f"{low:+.2f} to {high:+.2f}"]
            n = str(len(place.runs[arm]))
            lines.append([place.title, arm, f"{size:.2f}", f"{saved:.1f} x", *cells, n])
    return aligned(lines)


def plot(places: list[Place]) -> Figure:
    """Nats against bytes, a panel for every place; bars are 95 % intervals of arms with two seeds
    or more."""
    rows = math.ceil(len(places) / _COLUMNS)
    figure = Figure(figsize=(4 * _COLUMNS, 5 * rows), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False, sharey=True)
    for axes in panels.flat[len(places) :]:
        axes.remove()
    for place, axes in zip(places, panels.flat, strict=False):
        for arm, size in place.bytes.items():
            cost = Mean(0.0, 0.0, 0.0) if arm == place.reference else place.cost(arm)
            if cost is None:  # with one seed there is no interval
                continue
            axes.errorbar(size, cost.value, cost.half_width, fmt="o", capsize=3, label=arm)
        axes.axhline(0, color="k", linewidth=0.6)
        axes.set_xscale("log")
        axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
        axes.minorticks_off()
        axes.set_title(place.title)
        axes.set_xlabel("bytes per entry")
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    for first in panels[:, 0]:
        first.set_yscale("symlog", linthresh=1)
        first.set_yticks(_NATS, [f"{nats:g}" for nats in _NATS])
        first.set_ylabel("nats lost against no compression")
    return figure


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="folder of the plot")
def main(out: Path | None) -> None:
    """Put what compression saves beside what it costs."""
    places = [make() for make in PLACES]
    click.echo(table(places))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        plotting.save(out / "worth.png", plot(places))


if __name__ == "__main__":
    main()
