"""Does compression help or hurt the training of an energy on digits?

    python -m experiments.digits --quick
    python -m experiments.digits --out runs/digits-sweep

Every arm trains with as many gradient evaluations, over a grid of step sizes and several seeds, and
is judged by the cross-entropy of held-out digits plus noise. Tables and plots are in ``report.py``,
the findings are in docs/digits.md.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch

import effebm_ext as eff
from effebm_ext.energies import energy_and_gradient
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.evaluation.evaluate import evaluate
from effebm_ext.runs.trainer import make_sampler, make_trainer
from effebm_ext.training import NonFiniteError, Trainer
from experiments.common.records import Log, Row, environment
from experiments.digits import report

ARMS: dict[str, dict[str, Any]] = {
    "none": {},
    "clip 5": {"clip": "value:5"},
    "clip 10": {"clip": "value:10"},
    "Top-k": {"compressor": "topk:0.1"},
    "Top-k + feedback": {"compressor": "topk:0.1", "error_feedback": True},
    "Block-Sign": {"compressor": "block-sign:64"},
    "Block-Sign + feedback": {"compressor": "block-sign:64", "error_feedback": True},
}
for _arm in ("none", "Top-k + feedback", "Block-Sign + feedback"):
    ARMS[f"{_arm}, averaged noise"] = {**ARMS[_arm], "averaged_noise": True}
STEP_SIZES = (0.005, 0.02, 0.08)
BASE = TrainConfig(
    data="digits", compressor="none", error_feedback=False, chains=64, batch_size=64,
    langevin_steps=5, iterations=1500, learning_rate=2e-3, data_noise=0.3, ais_steps=400,
)  # fmt: skip
QUICK = dataclasses.replace(BASE, chains=8, batch_size=8, iterations=2, ais_steps=2, energy="mlp")
LARGEST_ENERGY_GAP = 100.0  # in nats; where the chains are lost, energy_l2 holds it at 1000


def tasks(base: TrainConfig, seeds: int) -> Iterator[tuple[str, TrainConfig]]:
    """All runs, by the names of their arms; seeds come last, so that an interrupted sweep has as
    many of one arm as of another."""
    for seed in range(seeds):
        for step_size in STEP_SIZES:
            for arm, changes in ARMS.items():
                yield arm, dataclasses.replace(base, seed=seed, step_size=step_size, **changes)


class Judged(NamedTuple):
    """``row``: the figures of a run, or why it diverged. Of a run that did not, ``late``: means of
    its metrics over the last tenth, and ``log_z``, Bennett's estimate."""

    row: Row
    late: dict[str, float]
    log_z: float


def judge(
    trainer: Trainer,
    config: TrainConfig,
    dataset: Dataset,
    largest_energy_gap: float,
) -> Judged:
    """Trains and evaluates; ``diverged`` says why where the chains have lost the model, which they
    have with energies further from those of the data than ``largest_energy_gap`` nats."""
    try:
        seen = [trainer.iteration() for _ in range(config.iterations)]
    except NonFiniteError as error:
        return Judged({"diverged": str(error)}, {}, math.nan)
    last = seen[-max(1, len(seen) // 10) :]
    late = {name: sum(m[name] for m in last) / len(last) for name in last[0]}
    gap = late["energy_gap"]
    if abs(gap) > largest_energy_gap:
        why = f"energies of data and chains {gap:.0f} nats apart at the end"
        return Judged({"diverged": why}, {}, math.nan)
    found = evaluate(config, dataset, trainer.model, trainer.samples.float())
    row = {
        "diverged": None,
        "bennett": found.cross_entropy_bennett,
        "forward": found.cross_entropy_forward,
        "reverse": found.cross_entropy_reverse,
        "forward_ais_error": found.log_z_forward_error,
        "reverse_ais_error": found.log_z_reverse_error,
        "energy_gap": gap,
    }
    return Judged(row, late, found.log_z_bennett)


def run(config: TrainConfig, dataset: Dataset) -> Row:
    """One run, and what its chains look like at the end."""
    trainer = make_trainer(config, dataset)
    row = judge(trainer, config, dataset, LARGEST_ENERGY_GAP).row
    if row["diverged"] is not None:
        return row
    gradient = energy_and_gradient(trainer.energy, trainer.samples)[1]
    return row | {
        "chains_std": float(trainer.samples.std()),
        "beyond_5": float((gradient.abs() > 5).float().mean()),
    }


def gaussian_cross_entropy(config: TrainConfig, dataset: Dataset) -> float:
    """Of the held-out digits plus noise under the Gaussian of the mean and covariance of the other
    digits plus noise, with the expectation over the noise taken exactly."""
    assert config.data_noise is not None
    train, held_out = (
        d.x.flatten(1).double() for d in dataset.split(config.holdout, seed=config.seed)
    )
    noise = config.data_noise**2 * torch.eye(train.shape[1], dtype=torch.float64)
    covariance = train.T.cov(correction=0) + noise
    rest = held_out - train.mean(0)
    spread = rest.T @ rest / len(rest) + noise
    logdet = torch.logdet(2 * math.pi * covariance)
    return float(logdet + torch.linalg.solve(covariance, spread).trace()) / 2


def memory(config: TrainConfig, event_shape: tuple[int, ...]) -> Row:
    """Bytes per chain of a sampler's state, and of the drift of a step if it is kept."""
    sampler = make_sampler(config, torch.nn.Identity())
    x = torch.randn(1, *event_shape, generator=torch.Generator().manual_seed(0))
    state, compressor = sampler.init(x, rng=eff.Key(0)), sampler.compressor
    drift = x if compressor is None else compressor.pack(compressor.compress(x))
    residual = 0 if state.residual is None else state.residual.nbytes
    return {"state": x.nbytes, "residual": residual, "drift": drift.nbytes}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--quick", is_flag=True, help="a few iterations of a small energy, in seconds")
@click.option("--seeds", type=click.IntRange(min=2), default=3, help="runs of every kind")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder of results and plot; runs that are in it are not repeated")  # fmt: skip
def main(quick: bool, seeds: int, out: Path | None) -> None:
    """Train on digits with and without compression, and compare."""
    base = QUICK if quick else BASE
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    dataset, log = load("digits"), Log(out)
    runs = []
    with click.progressbar(list(tasks(base, seeds)), item_show_func=lambda t: t and t[0]) as bar:
        for arm, config in bar:
            if (row := log.find(config)) is None:
                row = run(config, dataset) | {"config": dataclasses.asdict(config)}
                log.add(row)
            runs.append({"arm": arm, "step_size": config.step_size, "seed": config.seed} | row)
    splits = [dataclasses.replace(base, seed=seed) for seed in range(seeds)]
    found = {
        "environment": environment(),
        "settings": {
            "seeds": list(range(seeds)),
            "step_sizes": list(STEP_SIZES),
            "arms": ARMS,
            "base": dataclasses.asdict(base),
            "largest_energy_gap": LARGEST_ENERGY_GAP,
            "gradient_evaluations": base.chains * base.langevin_steps * base.iterations,
        },
        "gaussian": [gaussian_cross_entropy(config, dataset) for config in splits],
        "bytes_per_chain": {arm: memory(c, dataset.event_shape) for arm, c in tasks(base, 1)},
        "runs": [{name: v for name, v in row.items() if name != "config"} for row in runs],
    }
    click.echo("\n" + report.text(found))
    if out is not None:
        (out / "results.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
        report.save_plot(out / "digits.png", found)


if __name__ == "__main__":
    main()
