"""Which estimate of log Z is closest to the truth: forward, reverse, their middle or Bennett's?

    python -m experiments.log_z --quick
    python -m experiments.log_z --out runs/log-z

Annealed importance sampling runs both ways on targets whose log Z is known. The way back begins at
exact samples. All repeats of a target move at the same time, so they share the base and the step
sizes that one pilot run found. docs/evaluation.md has the findings.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

import click
import torch
from torch import Tensor

from effebm_ext.evaluation import AIS, annealed_by_class, gaussian_base
from experiments.common.over_seeds import aligned
from experiments.common.records import Row, environment, plain
from experiments.log_z.targets import TARGETS, Target

ESTIMATES = ("forward", "reverse", "middle", "Bennett")
_ROWS_OF_BASE = 10_000


class Scale(NamedTuple):
    """How many temperatures, chains in each direction of a repeat, and repeats."""

    n_steps: tuple[int, ...]
    n_chains: int
    repeats: int


FULL, QUICK = Scale((100, 1000), 128, 40), Scale((3, 12), 8, 4)


def annealed(target: Target, n_steps: int, scale: Scale, seed: int) -> list[AIS]:
    """Returns an independent pair of directions per repeat."""
    generator = torch.Generator().manual_seed(seed)
    base = gaussian_base(target.sample(_ROWS_OF_BASE, generator))
    samples = target.sample(scale.repeats * scale.n_chains, generator)
    return annealed_by_class(
        lambda x, _: target.energy(x),
        samples,
        torch.arange(scale.repeats).repeat_interleave(scale.n_chains),
        base,
        n_steps=n_steps,
        n_chains=[scale.n_chains] * scale.repeats,
        generator=generator,
    )


def errors(runs: list[AIS], log_z: float) -> Tensor:
    """Returns what every estimate misses log Z by, ``(repeats, 4)`` in the order of ESTIMATES."""
    values = [
        (run.forward.value, run.reverse.value, (run.forward.value + run.reverse.value) / 2,
         run.bennett.value)
        for run in runs
    ]  # fmt: skip
    return torch.tensor(values, dtype=torch.float64) - log_z


def figures(runs: list[AIS], log_z: float) -> Row:
    """Returns mean and root mean square of the errors with their standard errors, what Bennett's
    mean squared error is below that of the middle, paired by repeats, and Bennett's stated error.
    """
    missed = errors(runs, log_z)
    squares = missed.square()
    n = math.sqrt(len(runs))
    rms = squares.mean(0).sqrt()
    less = squares[:, ESTIMATES.index("middle")] - squares[:, ESTIMATES.index("Bennett")]
    stated = torch.tensor([run.bennett.error for run in runs], dtype=torch.float64)
    return {
        "rms": dict(zip(ESTIMATES, rms.tolist(), strict=True)),
        "rms_error": dict(zip(ESTIMATES, (squares.std(0) / (2 * rms * n)).tolist(), strict=True)),
        "mean": dict(zip(ESTIMATES, missed.mean(0).tolist(), strict=True)),
        "mean_error": dict(zip(ESTIMATES, (missed.std(0) / n).tolist(), strict=True)),
        "squares_below_middle": [less.mean(), less.std() / n],
        "stated_by_bennett": stated.square().mean().sqrt(),
        "acceptance": runs[0].acceptance,
    }


def table(rows: list[Row]) -> str:
    """Root mean squared errors of log Z in nats, a line per target and budget."""
    lines = [["target", "temperatures", *ESTIMATES, "stated by Bennett"]]
    for row in rows:
        rms = [f"{row['rms'][e]:.3f} ± {row['rms_error'][e]:.3f}" for e in ESTIMATES]
        stated = row["stated_by_bennett"]
        shown = "inf" if stated is None else f"{stated:.3f}"
        lines.append([row["target"], str(row["n_steps"]), *rms, shown])
    return aligned(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--quick", is_flag=True, help="few temperatures, chains and repeats, in seconds")
@click.option("--seed", default=0, help="seed of samples and chains")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder of results.json")  # fmt: skip
def main(quick: bool, seed: int, out: Path | None) -> None:
    """Measure the errors of estimates of log Z on targets of known log Z."""
    scale = QUICK if quick else FULL
    tasks = [(name, n_steps) for name in TARGETS for n_steps in scale.n_steps]
    rows: list[Row] = []
    with click.progressbar(tasks, item_show_func=lambda task: task and task[0]) as bar:
        for name, n_steps in bar:
            target = TARGETS[name]()
            found = figures(annealed(target, n_steps, scale, seed), target.log_z)
            row = {"target": name, "n_steps": n_steps, "log_z": target.log_z, **found}
            rows.append(plain(row))
    click.echo(table(rows))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        settings = {**scale._asdict(), "seed": seed}
        result = {"environment": environment(), "settings": plain(settings), "rows": rows}
        (out / "results.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
