"""Which pictures does an energy find unlikely that score matching trained, with and without finite
differences?

    python -m experiments.out_of_distribution --data mnist:FOLDER fashion-mnist:FOLDER --quick
    python -m experiments.out_of_distribution --data mnist:FOLDER fashion-mnist:FOLDER --out FOLDER
    python -m experiments.out_of_distribution --parts cost --out FOLDER

Two parts: ``detection`` trains on either set and scores held-out pictures beside the other set and
beside changed pictures; ``cost`` has time and memory of a training step, and needs no data. The
findings are in docs/out_of_distribution.md.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import click

from experiments.common.over_seeds import aligned
from experiments.common.parts import make_parts, parse_parts
from experiments.common.records import Log, Row, source_name
from experiments.out_of_distribution import report
from experiments.out_of_distribution.runs import GAUSSIAN, OBJECTIVES, SIGMA, Task, run
from experiments.score_matching import cost as score_cost

PARTS = ("detection", "cost")
_QUICK = {"iterations": 2, "batch_size": 8, "pictures": 500}
_DEFAULT = ("dsm", "fd-dsm")


def tasks(
    data: tuple[str, str], arms: tuple[str, ...], seeds: int, iterations: int, quick: bool
) -> Iterator[Task]:
    """All runs. Seeds come last, so that an interrupted sweep has as many of one arm as of
    another."""
    options = {"iterations": iterations} | (_QUICK if quick else {})
    for seed in range(seeds):
        for arm in arms:
            for own, other in (data, data[::-1]):
                yield Task(own, other, arm, seed, **options)


def detect(todo: list[Task], log: Log) -> Row:
    """Makes all runs that the log has not, and returns them without the paths of the data."""
    runs = []
    with click.progressbar(todo, item_show_func=lambda t: t and f"{t.arm}, {t.data}") as bar:
        for task in bar:
            if (row := log.find(task)) is None:
                row = run(task) | {"config": dataclasses.asdict(task)}
                log.add(row)
            own, other = map(source_name, (task.data, task.other))
            named = dataclasses.asdict(task) | {"data": own, "other": other}
            runs.append(named | {name: v for name, v in row.items() if name != "config"})
    click.echo("\n" + report.text(runs))
    return {"sigma": SIGMA, "runs": runs}


def cost(quick: bool) -> Row:
    """Processor time and memory of a step, of all methods and of finite differences evaluated one
    after the other (``*``), beside DSM. On a machine that others use too, processor time says more
    than the clock; it is that of all threads together."""
    scale = "quick" if quick else "mnist"
    steps = score_cost.measure(scale, score_cost.ALL, time.process_time)
    dsm = next(row for row in steps if row["method"] == "dsm")
    lines = [["method", "ms per step", "of DSM", "kept, MB", "peak, MB", "of DSM"]]
    for row in steps:
        row["seconds_of_dsm"] = row["seconds"] / dsm["seconds"]
        row["peak_of_dsm"] = row["peak_bytes"] / dsm["peak_bytes"]
        times = [f"{1e3 * row['seconds']:.3g}", f"{row['seconds_of_dsm']:.2f}"]
        memory = [f"{row[name] / 1e6:.3g}" for name in ("kept_bytes", "peak_bytes")]
        lines.append([row["method"], *times, *memory, f"{row['peak_of_dsm']:.2f}"])
    click.echo("\n" + aligned(lines))
    return {"steps": steps}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", nargs=2, help="two sets of square pictures, as effebm train takes them")
@click.option("--parts", default=",".join(PARTS), help="which, separated by commas")
@click.option("--objective", "objectives", multiple=True, type=click.Choice(OBJECTIVES),
              default=_DEFAULT, help="what to train by")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), default=2, help="runs of every kind")
@click.option("--iterations", type=click.IntRange(min=1), default=1000, help="of every training")
@click.option("--quick", is_flag=True, help="2 iterations on 500 pictures, in seconds")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder of results and plot; runs that are in it are not repeated")  # fmt: skip
def main(
    data: tuple[str, str] | None,
    parts: str,
    objectives: tuple[str, ...],
    seeds: int,
    iterations: int,
    quick: bool,
    out: Path | None,
) -> None:
    """Train on either of two sets of pictures, and find what is not of the set."""
    chosen = parse_parts(parts, PARTS)
    if "detection" in chosen and not data:
        raise click.UsageError("expected --data SOURCE SOURCE, or --parts cost")

    def make(part: str) -> Row:
        if part == "cost":
            return cost(quick)
        assert data is not None  # asked for above
        arms = (GAUSSIAN, *objectives)
        found = detect(list(tasks(data, arms, seeds, iterations, quick)), Log(out))
        if out is not None:
            report.save_plot(out / "out_of_distribution.png", found["runs"])
        return found

    make_parts(chosen, quick, make, out)


if __name__ == "__main__":
    main()
