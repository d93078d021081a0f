"""Do weights, or particles that follow the energy, help the training of an energy on MNIST?

    python -m experiments.mnist.walkers --data mnist:FOLDER --quick
    python -m experiments.mnist.walkers --data mnist:FOLDER --out FOLDER

Weighted walkers and particles against persistent chains and chains that begin at the data, all with
the same network, the same Gaussian base, the same starts and as many steps, without a denoising
loss. Every look finds the cross-entropy of held-out pictures plus noise by annealed importance
sampling both ways, and what walkers that only follow say of it. docs/mnist.md has the findings.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.evaluation.evaluate import evaluate
from effebm_ext.runs.showing import plotting
from effebm_ext.training import NonFiniteError, Trainer
from experiments.common.over_seeds import aligned
from experiments.common.records import Log, Row, environment, plain
from experiments.weighted_walkers.weighted_digits import Run, trainer_of

_FOLLOWED = {"following_walkers": 128}
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "PCD": ("persistent", {}),
    "CD": ("restarted", {}),
    "Jarzynski": ("weights", _FOLLOWED),
    "Jarzynski, MALA": ("weights", {"adjusted": True, **_FOLLOWED}),
    # As many move at a time as in the other arms, in turn; the rest only get weights.
    "Jarzynski, 1024 walkers": ("weights", {"chains": 1024, "moved_chains": 128, **_FOLLOWED}),
    "particles, alpha": ("particles", {"objective": "particle", "base": "gaussian"}),
}
LEARNING_RATES = (5e-4, 1e-4)
_BASE: dict[str, Any] = {
    "objective": "jarzynski", "energy": "conv", "compressor": "none", "error_feedback": False,
    "chains": 128, "batch_size": 128, "langevin_steps": 10, "step_size": 0.01, "energy_l2": 0.0,
    "iterations": 800, "ais_steps": 400,
}  # fmt: skip
_QUICK = {"chains": 8, "batch_size": 8, "langevin_steps": 1, "iterations": 2, "ais_steps": 2,
          "width": 4}  # fmt: skip
_QUICK_TURN = {"chains": 16, "moved_chains": 8}  # of walkers that move in turn
_LOOKS = 2
_N_SHOWN = 64


def tasks(data: str, seeds: int, arms: tuple[str, ...], quick: bool) -> Iterator[tuple[str, Run]]:
    """All runs, by the names of their arms; seeds come last, as interrupted sweeps should have as
    many of one arm as of another."""
    for seed in range(seeds):
        for rate in LEARNING_RATES:
            for arm in arms:
                method, changes = ARMS[arm]
                options = _BASE | (_QUICK if quick else {}) | changes
                if quick and "moved_chains" in changes:
                    options |= _QUICK_TURN
                config = TrainConfig(data=data, seed=seed, learning_rate=rate, **options)
                yield arm, Run(method, config)


def look(trainer: Trainer, config: TrainConfig, dataset: Dataset) -> Row:
    """What annealed importance sampling says of the energy, and what weights say of log Z."""
    found = evaluate(config, dataset, trainer.model, trainer.samples.float())
    row = {
        "iteration": trainer.iterations,
        "bennett": found.cross_entropy_bennett,
        "bennett_error": found.log_z_bennett_error,
        "forward": found.cross_entropy_forward,
        "reverse": found.cross_entropy_reverse,
    }
    walkers, followers = trainer.chains, getattr(trainer.objective, "followers", None)
    if isinstance(walkers, WeightedWalkers):
        row["log_z_error"] = walkers.log_z - found.log_z_bennett
    if followers is not None:
        row["followers_log_z_error"] = followers.log_z - found.log_z_bennett
        row["followers_stated_error"] = followers.log_z_error
    return row


def train(task: Run, dataset: Dataset, picture: Path | None) -> Row:
    """One run with its looks; ``diverged`` says why it ended early. The chains of the end are
    drawn beside data into ``picture``."""
    config = task.config.resolved(dataset.kind)
    trainer = trainer_of(dataclasses.replace(task, config=config), dataset)
    every, history, metrics = max(1, config.iterations // _LOOKS), [], []
    try:
        for i in range(1, config.iterations + 1):
            metrics.append(trainer.iteration())
            if i % every == 0:
                history.append(look(trainer, config, dataset))
    except NonFiniteError as error:
        return {"diverged": str(error), "history": history}
    late = metrics[-max(1, len(metrics) // 10) :]
    data = trainer.data[:]
    noisy_std = math.hypot(float(data.std(correction=0)), config.data_noise)
    row: Row = {
        "diverged": None,
        "history": history,
        "energy_gap": sum(m["energy_gap"] for m in late) / len(late),
        "spread": float(trainer.samples.std(correction=0)) / noisy_std,
    }
    if "ess" in late[0]:
        row["ess"] = sum(m["ess"] for m in late) / len(late) / config.chains
    if picture is not None:
        figure = plotting.draw_samples(trainer.samples[:_N_SHOWN], data[:_N_SHOWN], is_image=True)
        plotting.save(picture, figure)
    return row


def table(rows: list[Row]) -> str:
    """Returns the figures of the end of every run, one line each."""
    names = ("energy_gap", "spread", "ess")
    last = ("bennett", "bennett_error", "forward", "reverse", "log_z_error",
            "followers_log_z_error")  # fmt: skip
    lines = [["arm", "rate", "seed", *(name.replace("_", " ") for name in (*last, *names))]]
    for row in rows:
        end = row["history"][-1] if row["history"] else {}
        values = [end.get(name) for name in last] + [row.get(name) for name in names]
        cells = ["-" if value is None else f"{value:.4g}" for value in values]
        lines.append([row["arm"], f"{row['learning_rate']:g}", str(row["seed"]), *cells])
    return f"cross-entropy of held-out pictures, nats\n{aligned(lines)}"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", required=True, help="pictures, as effebm train takes them")
@click.option("--quick", is_flag=True, help="2 iterations on the first 500 pictures")
@click.option("--seeds", type=click.IntRange(min=1), default=1, help="runs of every kind")
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(ARMS)), default=list(ARMS))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder of results and pictures; runs in it are not repeated")  # fmt: skip
def main(data: str, quick: bool, seeds: int, arms: tuple[str, ...], out: Path | None) -> None:
    """Train on pictures by weighted walkers, particles and chains, and compare."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    dataset, log, rows = load(data), Log(out), []
    if quick:
        dataset = dataclasses.replace(dataset, rows=dataset.rows[:500])
    todo = list(tasks(data, seeds, arms, quick))
    with click.progressbar(todo, item_show_func=lambda t: t and t[0]) as bar:
        for arm, task in bar:
            rate, seed = task.config.learning_rate, task.config.seed
            if (row := log.find(task)) is None:
                name = f"{arm.replace(', ', '-')}-{rate:g}-{seed}.png"
                row = plain(train(task, dataset, None if out is None else out / name))
                row |= {"config": dataclasses.asdict(task)}
                log.add(row)
            figures = {name: value for name, value in row.items() if name != "config"}
            rows.append({"arm": arm, "learning_rate": rate, "seed": seed} | figures)
    click.echo("\n" + table(rows))
    if out is not None:
        found = {"environment": environment(), "quick": quick, "runs": rows}
        (out / "results.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
