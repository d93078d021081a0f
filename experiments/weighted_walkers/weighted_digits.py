"""Do weights help the training of an energy on digits, and do they mend compression there?

    python -m experiments.weighted_walkers.weighted_digits --quick
    python -m experiments.weighted_walkers.weighted_digits --out runs/weighted-digits

Weighted walkers against persistent chains and chains that begin at the data, all with the same
network, the same starts and as many steps, judged as in ``digits.py``: by the cross-entropy of
held-out digits plus noise. Findings: docs/weighted_walkers.md.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch
from matplotlib.figure import Figure

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.restart import Restart
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.objectives import Contrastive
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.trainer import make_sampler, make_trainer
from effebm_ext.training import Trainer
from experiments.common.over_seeds import Mean, aligned, mean, show, verdict
from experiments.common.records import Log, Row, environment
from experiments.digits.__main__ import LARGEST_ENERGY_GAP, gaussian_cross_entropy, judge
from experiments.digits.report import cross_entropy

# How the walkers are corrected or begun, and what is compressed.
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "PCD": ("persistent", {}),
    "CD": ("restarted", {}),
    "Jarzynski": ("weights", {}),
    "Jarzynski, MALA": ("weights", {"adjusted": True}),
    "Top-k, MALA + weights": ("weights", {"adjusted": True, "compressor": "topk:0.1"}),
    "Block-Sign, MALA + weights": ("weights", {"adjusted": True, "compressor": "block-sign:64"}),
}
LEARNING_RATES = (5e-4, 2e-3)
BASE = TrainConfig(
    data="digits", objective="jarzynski", compressor="none", error_feedback=False, chains=256,
    batch_size=128, langevin_steps=5, step_size=0.02, iterations=1500, data_noise=0.3,
    energy_l2=0.001, ais_steps=400,
)  # fmt: skip
QUICK = dataclasses.replace(BASE, chains=8, batch_size=8, iterations=2, ais_steps=2, energy="mlp")


@dataclasses.dataclass(frozen=True)
class Run:
    """``method``: weights, particles, persistent or restarted."""

    method: str
    config: TrainConfig


def tasks(base: TrainConfig, seeds: int, arms: tuple[str, ...]) -> Iterator[tuple[str, Run]]:
    """All runs, by the names of their arms; seeds come last, as interrupted sweeps should have as
    many of one arm as of another."""
    for seed in range(seeds):
        for rate in LEARNING_RATES:
            for arm in arms or ARMS:
                method, changes = ARMS[arm]
                config = dataclasses.replace(base, seed=seed, learning_rate=rate, **changes)
                yield arm, Run(method, config)


def trainer_of(task: Run, dataset: Dataset) -> Trainer:
    """All have the network of weighted walkers, with its Gaussian, and begin where these do; chains
    that begin anew do so at data plus noise."""
    trainer = make_trainer(task.config, dataset)
    if task.method in ("weights", "particles"):
        return trainer
    config = task.config.resolved(dataset.kind)

    def data(n: int) -> torch.Tensor:
        rows = torch.randint(len(trainer.data), (n,), generator=trainer.generator)
        clean = trainer.data[rows]
        noise = torch.randn(clean.shape, generator=trainer.generator)
        return clean + trainer.data_noise * noise

    restart = Restart(float(task.method == "restarted"), data, trainer.generator)
    chains = PersistentChains(
        make_sampler(config, trainer.energy), trainer.chains.state.x, rng=eff.Key(config.seed),
        restart=restart,
    )  # fmt: skip
    trainer.objective = Contrastive(
        trainer.energy, chains, langevin_steps=config.langevin_steps, energy_l2=config.energy_l2
    )
    return trainer


def train(task: Run, dataset: Dataset) -> Row:
    """One run, and what its walkers did."""
    config, trainer = task.config, trainer_of(task, dataset)
    row, late, log_z = judge(trainer, config, dataset, LARGEST_ENERGY_GAP)
    if row["diverged"] is not None:
        return row
    weighted = isinstance(trainer.chains, WeightedWalkers)
    return row | {
        "ess": late["ess"] / config.chains if weighted else None,
        "acceptance": late.get("acceptance"),
        "resampled": late.get("resampled"),
        "log_z_error": trainer.chains.log_z - log_z if weighted else None,
    }


def groups(found: Row) -> Iterator[tuple[str, float, dict[int, Row]]]:
    """Arm, learning rate, and the runs by their seeds, without those that diverged."""
    for arm in ARMS:
        for rate in LEARNING_RATES:
            of_group = [r for r in found["runs"] if (r["arm"], r["learning_rate"]) == (arm, rate)]
            if of_group:
                yield arm, rate, {r["seed"]: r for r in of_group if r["diverged"] is None}


def table(found: Row) -> str:
    """Cross-entropies of every arm at every learning rate, what the walkers did, and the difference
    from PCD at the same rate, paired by seeds."""
    figures = ("forward", "reverse", "energy_gap", "ess", "acceptance", "resampled", "log_z_error")
    rows = [["arm", "learning rate", *figures, "diverged"]]
    lines, runs_of = [], {(arm, rate): runs for arm, rate, runs in groups(found)}
    for (arm, rate), runs in runs_of.items():
        shown = [show(_mean([run[name] for run in runs.values()])) for name in figures]
        diverged = found["settings"]["seeds"] - len(runs)
        rows.append([arm, f"{rate:g}", *shown, str(diverged)])
        of_pcd = runs_of.get(("PCD", rate), {})
        both = sorted(runs.keys() & of_pcd.keys())
        if arm != "PCD" and both:
            less = _mean([cross_entropy(runs[s]) - cross_entropy(of_pcd[s]) for s in both])
            lines.append(f"{arm} at {rate:g} against PCD: {verdict(less)}")
    return (
        f"cross-entropy of held-out digits in nats, mean of {found['settings']['seeds']} seeds "
        f"± standard error\n{aligned(rows)}\n"
        f"Gaussian of full covariance: {show(mean(found['gaussian']))}\n\n" + "\n".join(lines)
    )


def _mean(values: list[float | None]) -> Mean | None:
    """Of at least two values, of a figure that the arm has."""
    numbers = [value for value in values if value is not None]
    return mean(numbers) if len(numbers) > 1 else None


def save_plot(path: Path, found: Row) -> None:
    """Cross-entropies, bars of one standard error, side by side for the learning rates."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    arms = list(dict.fromkeys(arm for arm, _, _ in groups(found)))
    for i, rate in enumerate(LEARNING_RATES):
        scores = {
            arms.index(arm) + 0.15 * (2 * i - 1): _mean([cross_entropy(r) for r in runs.values()])
            for arm, own, runs in groups(found)
            if own == rate
        }
        shown = {at: score for at, score in scores.items() if score is not None}
        values, errors = [s.value for s in shown.values()], [s.error for s in shown.values()]
        axes.errorbar(list(shown), values, errors, fmt="o", label=f"rate {rate:g}", capsize=2)
    gaussian = mean(found["gaussian"]).value
    axes.axhline(gaussian, color="k", linestyle=":", label="Gaussian of full covariance")
    axes.set_xticks(range(len(arms)), arms, rotation=30, ha="right", fontsize=8)
    axes.set_ylabel("held-out cross-entropy, nats")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=100)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--quick", is_flag=True, help="a few iterations of a small energy, in seconds")
@click.option("--seeds", type=click.IntRange(min=2), default=3, help="runs of every kind")
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(ARMS)), help="only these")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder of results and plot; runs that are in it are not repeated")  # fmt: skip
def main(quick: bool, seeds: int, arms: tuple[str, ...], out: Path | None) -> None:
    """Train on digits with weighted walkers, persistent chains, and chains from the data."""
    base = QUICK if quick else BASE
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    dataset, log = load("digits"), Log(out)
    runs = []
    todo = list(tasks(base, seeds, arms))
    with click.progressbar(todo, item_show_func=lambda t: t and t[0]) as bar:
        for arm, task in bar:
            if (row := log.find(task)) is None:
                row = train(task, dataset) | {"config": dataclasses.asdict(task)}
                log.add(row)
            config = task.config
            name = {"arm": arm, "learning_rate": config.learning_rate, "seed": config.seed}
            runs.append(name | row)
    splits = [dataclasses.replace(base, seed=seed) for seed in range(seeds)]
    found = {
        "environment": environment(),
        "settings": {
            "seeds": seeds,
            "arms": ARMS,
            "base": dataclasses.asdict(base),
            "largest_energy_gap": LARGEST_ENERGY_GAP,
        },
        "gaussian": [gaussian_cross_entropy(config, dataset) for config in splits],
        "runs": [{name: v for name, v in row.items() if name != "config"} for row in runs],
    }
    click.echo("\n" + table(found))
    if out is not None:
        (out / "results.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
        save_plot(out / "weighted_digits.png", found)


if __name__ == "__main__":
    main()
