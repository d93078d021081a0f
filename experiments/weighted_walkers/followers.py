"""Can the running log Z be trusted if walkers estimate it that never enter the gradient?

    python -m experiments.weighted_walkers.followers --quick
    python -m experiments.weighted_walkers.followers --out runs/followers

A Gaussian of 200 parameters, whose log Z is known at every moment, and digits, where annealed
importance sampling stands in for it. In every run training walkers and followers see the same
parameters. Findings: docs/weighted_walkers.md.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

import effebm_ext as eff
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.evaluation import annealed_importance_sampling
from effebm_ext.evaluation.ais import gaussian_base
from effebm_ext.objectives import Jarzynski
from effebm_ext.rng import generator_for, key_for
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.trainer import make_trainer
from effebm_ext.training import NonFiniteError, Trainer
from experiments.common.records import Log, Row, environment, plain
from experiments.weighted_walkers import followers_report as report


@dataclasses.dataclass(frozen=True)
class GaussianRun:
    """Training of means and log-precisions by Adam, at ``rate``; ``drift`` is of GAUSSIAN_ARMS."""

    drift: str
    seed: int
    dim: int = 100
    walkers: int = 256
    followers: int = 256
    updates: int = 400
    looks: int = 8
    rate: float = 0.01
    langevin_steps: int = 5
    step_size: float = 0.05
    data: int = 2000
    batch_size: int = 128


@dataclasses.dataclass(frozen=True)
class DigitsRun:
    """``looks``: how often log Z is found by annealed importance sampling."""

    arm: str
    config: TrainConfig
    looks: int


GAUSSIAN_ARMS: dict[str, tuple[Any, Any]] = {
    "full": (eff.Langevin, None),
    "Top-k 10 %, MALA": (eff.MALA, eff.TopK(ratio=0.1)),
}
FAST = {"learning_rate": 2e-3, "iterations": 450}  # a rate at which followers lose the model
DIGITS_ARMS: dict[str, dict[str, Any]] = {
    "base": {},
    "64 followers": {"following_walkers": 64},
    "Top-k 10 %, MALA": {"adjusted": True, "compressor": "topk:0.1"},
    "rate 0.001": {"learning_rate": 1e-3},
    "rate 0.002": {"learning_rate": 2e-3},
    "fast": FAST,
    "fast, step size 0.08": {**FAST, "step_size": 0.08},
    "fast, 2048 followers": {**FAST, "following_walkers": 2048},
    "fast, 20 steps": {**FAST, "langevin_steps": 20},
    "convolutional": {
        **{"energy": "conv", "width": None, "depth": None, "iterations": 400},
        **{"chains": 128, "following_walkers": 256},
    },
}
BASE = TrainConfig(
    data="digits", objective="jarzynski", energy="mlp", width=128, depth=2, chains=256,
    following_walkers=512, batch_size=128, langevin_steps=5, step_size=0.02, iterations=1500,
    learning_rate=5e-4, data_noise=0.3, ais_steps=400,
)  # fmt: skip
QUICK = dataclasses.replace(
    BASE, width=16, chains=16, batch_size=8, langevin_steps=2, iterations=4, ais_steps=4
)


class Gaussian(nn.Module):
    """``E(x) = sum_i exp(s_i) (x_i - m_i)^2 / 2``; log Z is ``d/2 log 2 pi - sum_i s_i / 2``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(dim))
        self.log_precision = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return (self.log_precision.exp() * (x - self.mean).square()).sum(1) / 2

    @property
    def log_z(self) -> float:
        s = self.log_precision.detach().double()
        return len(s) / 2 * math.log(2 * math.pi) - float(s.sum()) / 2


def seen_at_a_look(trainer: Trainer, log_z: float) -> Row:
    """What both populations say of log Z, beside what it is."""
    objective = trainer.objective
    walkers, followers = objective.walkers, objective.followers
    return {
        "iteration": trainer.iterations,
        "log_z": log_z,
        "training": walkers.log_z - log_z,
        "followers": followers.log_z - log_z,
        "stated": followers.log_z_error,
    }


def of_gaussian(run: GaussianRun) -> Row:
    """The errors of the running log Z on the way of one training."""
    kind, compressor = GAUSSIAN_ARMS[run.drift]
    generator = torch.Generator().manual_seed(run.seed)
    mean = torch.randn(run.dim, generator=generator)
    std = (0.4 * torch.randn(run.dim, generator=generator)).exp()
    data = mean + std * torch.randn(run.data, run.dim, generator=generator)
    energy = Gaussian(run.dim)
    sampler = kind(energy, step_size=run.step_size, compressor=compressor)

    def walkers(n: int, draw: torch.Generator, key: eff.Key) -> WeightedWalkers:
        x0 = torch.randn(n, run.dim, generator=draw)
        return WeightedWalkers(sampler, x0, -energy(x0).double() - energy.log_z, rng=key)

    draw, key = generator_for("followers", run.seed), key_for("followers", run.seed)
    objective = Jarzynski(
        energy,
        walkers(run.walkers, generator, eff.Key(run.seed)),
        langevin_steps=run.langevin_steps,
        followers=walkers(run.followers, draw, key),
    )
    optimizer = torch.optim.Adam(energy.parameters(), lr=run.rate)
    trainer = Trainer(
        energy, optimizer, objective, data, batch_size=run.batch_size, generator=generator
    )
    history, metrics = [], []
    for i in range(1, run.updates + 1):
        metrics.append(trainer.iteration())
        if i % max(1, run.updates // run.looks) == 0:
            history.append(seen_at_a_look(trainer, energy.log_z))
    return {"history": history, **of_metrics(metrics, run.followers)}


def of_digits(run: DigitsRun, dataset: Dataset) -> Row:
    """The running log Z less that of annealed importance sampling on the way of one training."""
    config, trainer = run.config, make_trainer(run.config, dataset)
    generator = generator_for("experiment", config.seed)
    noise = torch.randn(trainer.data.shape, generator=generator)
    base = gaussian_base(trainer.data[:] + trainer.data_noise * noise)
    history: list[Row] = []
    metrics: list[dict[str, float]] = []
    try:
        for i in range(1, config.iterations + 1):
            metrics.append(trainer.iteration())
            if i % max(1, config.iterations // run.looks) == 0:
                ais = annealed_importance_sampling(
                    trainer.energy, trainer.state.x, base,
                    n_steps=config.ais_steps, generator=generator,
                )  # fmt: skip
                middle = (ais.forward.value + ais.reverse.value) / 2
                look = seen_at_a_look(trainer, middle)
                look["ais_gap"] = ais.reverse.value - ais.forward.value
                look["ais_error"] = math.hypot(ais.forward.error, ais.reverse.error) / 2
                recent = metrics[-20:]
                look["cross_entropy"] = sum(m["cross_entropy"] for m in recent) / len(recent)
                history.append(look)
    except NonFiniteError as error:
        return {"history": history, "diverged": str(error)}
    return {"history": history, "diverged": None, **of_metrics(metrics, config.following_walkers)}


def of_metrics(metrics: list[dict[str, float]], n: int) -> Row:
    """The least and the mean share of followers that count, and the acceptance."""
    ess = [m["following_ess"] / n for m in metrics]
    accepted = [m["acceptance"] for m in metrics if "acceptance" in m]
    return {
        "ess": sum(ess) / len(ess),
        "least_ess": min(ess),
        "acceptance": sum(accepted) / len(accepted) if accepted else None,
    }


def tasks(
    quick: bool, gaussian_seeds: int, digits_seeds: int, arms: tuple[str, ...]
) -> Iterator[GaussianRun | DigitsRun]:
    """All runs; seeds come last."""
    small = {"dim": 5, "walkers": 32, "followers": 32, "updates": 8, "looks": 2} if quick else {}
    for seed in range(gaussian_seeds):
        for drift in GAUSSIAN_ARMS:
            yield GaussianRun(drift, seed, **small)
    base, looks = (QUICK, 2) if quick else (BASE, 10)
    for seed in range(digits_seeds):
        for arm in arms or DIGITS_ARMS:
            changes = DIGITS_ARMS[arm]
            if quick:
                kept = ("following_walkers", "langevin_steps", "iterations", "chains")
                changes = {k: v for k, v in changes.items() if k not in kept}
            config = dataclasses.replace(base, seed=seed, **changes)
            yield DigitsRun(arm, config, looks)


def described(task: GaussianRun | DigitsRun | None) -> str | None:
    if task is None:
        return None
    return task.drift if isinstance(task, GaussianRun) else f"digits, {task.arm}"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--quick", is_flag=True, help="small, in seconds")
@click.option("--gaussian-seeds", type=click.IntRange(min=2), default=10, help="of each drift")
@click.option("--digits-seeds", type=click.IntRange(min=1), default=1, help="of each arm")
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(DIGITS_ARMS)),
              help="only these arms of digits")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder of results and plot; runs that are in it are not repeated")  # fmt: skip
def main(
    quick: bool, gaussian_seeds: int, digits_seeds: int, arms: tuple[str, ...], out: Path | None
) -> None:
    """Compare the running log Z of training walkers and of followers with what it should be."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    dataset, log, rows = load("digits"), Log(out), []
    todo = list(tasks(quick, gaussian_seeds, digits_seeds, arms))
    with click.progressbar(todo, item_show_func=described) as bar:
        for task in bar:
            if (row := log.find(task)) is None:
                made = (
                    of_gaussian(task) if isinstance(task, GaussianRun) else of_digits(task, dataset)
                )
                row = plain(made) | {"config": dataclasses.asdict(task)}
                log.add(row)
            is_gaussian = isinstance(task, GaussianRun)
            name = {
                "study": "gaussian" if is_gaussian else "digits",
                "arm": task.drift if is_gaussian else task.arm,
                "seed": task.seed if is_gaussian else task.config.seed,
            }
            rows.append(name | {k: v for k, v in row.items() if k != "config"})
    settings = {
        "gaussian": dataclasses.asdict(GaussianRun("full", 0)),
        "digits": dataclasses.asdict(BASE),
        "arms": DIGITS_ARMS,
    }
    click.echo("\n" + report.table(rows))
    if out is not None:
        found = {"environment": environment(), "settings": settings, "runs": rows}
        (out / "results.json").write_text(json.dumps(found, allow_nan=False) + "\n")
        report.save_plot(out / "followers.png", rows)


if __name__ == "__main__":
    main()
