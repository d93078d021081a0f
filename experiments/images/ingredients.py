"""Which ingredients make contrastive training on images stable?

    python -m experiments.images.ingredients --data fashion-mnist:FOLDER --out runs/ingredients

Every arm trains the network conv by the options of its line, with as many gradient evaluations, and
says where its chains and its energies are at the end. docs/images.md has the findings.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from effebm_ext.networks import ConvEnergy
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.recipes import RECIPES
from effebm_ext.runs.trainer import make_trainer
from effebm_ext.training import NonFiniteError
from experiments.common.over_seeds import aligned
from experiments.common.records import Log, Row, environment, plain, source_name
from experiments.images.measures import measure

_LATE = 20  # iterations whose mean counts
_BASE = {"base": "gaussian", "energy_l2": 0.0}
_DENOISING = {"denoising_weight": 10.0}
ARMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no noise on the data": {"data_noise": 0.0},
    "no compression": {"compressor": "none", "error_feedback": False},
    "smaller step size": {"step_size": 0.001},
    "smaller learning rate": {"learning_rate": 5e-5},
    "stronger penalty on energies": {"energy_l2": 0.1},
    "bounds": {"bounds": "-2:2"},
    "temperature 0.01": {"temperature": 0.01},
    "replay buffer with restarts": {"buffer_size": 2000, "restart_probability": 0.05},
    "spectral norm": {"energy": "experiments.images.ingredients:SpectralConvEnergy"},
    "residual network": {"energy": "resnet", "width": 16},
    "recipe igebm": dict(RECIPES["igebm"].options),
    "recipe jem": dict(RECIPES["jem"].options),
    "Gaussian base": _BASE,
    "denoising loss": _DENOISING,
    "base, denoising loss": _BASE | _DENOISING,
    "base, denoising loss, warm-up": _BASE | _DENOISING | {"warm_up": 100},
    "the same without compression": {
        **_BASE, **_DENOISING, "warm_up": 100, "compressor": "none", "error_feedback": False,
    },
}  # fmt: skip
_PLAIN: dict[str, Any] = {
    "energy": "conv", "base": "none", "energy_l2": 0.001, "data_noise": 0.3, "warm_up": 0,
    "denoising_weight": 0.0, "langevin_steps": 10, "learning_rate": 5e-4,
}  # fmt: skip


class SpectralConvEnergy(ConvEnergy):
    """The network conv, each of whose layers has a largest singular value of 1 (Miyato et al.
    2018), as it is estimated by one power iteration in every step."""

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__(event_shape)
        for layer in self.net:
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                spectral_norm(layer)


def configuration(arm: str, data: str, steps: int, chains: int, seed: int) -> TrainConfig:
    """Returns the configuration of an arm that moves every chain by about ``steps`` steps."""
    options = _PLAIN | ARMS[arm]
    options |= {"chains": chains, "batch_size": chains, "data": source_name(data), "seed": seed}
    n = max(1, steps // options["langevin_steps"])
    return TrainConfig(**options, iterations=n + options["warm_up"])


def run(config: TrainConfig, dataset: Dataset) -> Row:
    """Trains, and returns figures of the last iterations and of the last chains."""
    config = config.resolved(dataset.kind)
    trainer, metrics = make_trainer(config, dataset), []
    try:
        metrics = [trainer.iteration() for _ in range(config.iterations)]
    except NonFiniteError as error:
        return {"diverged": str(error)}
    late = metrics[config.warm_up :][-_LATE:]
    gap = sum(m["energy_gap"] for m in late) / len(late) / math.prod(dataset.event_shape)
    generator = torch.Generator().manual_seed(config.seed)
    noisy = [
        part.x + config.data_noise * torch.randn(part.x.shape, generator=generator)
        for part in dataset.split(config.holdout, seed=config.seed_of_data)
    ]
    found = measure(trainer.samples, *noisy)
    return {"diverged": None, "gap_per_dimension": gap, **found}


def table(rows: list[Row]) -> str:
    """Returns the figures of all arms, one line each."""
    names = ("spread", "gap_per_dimension", "distance", "floor")
    lines = [["arm", "spread", "gap per dimension", "distance", "of data"]]
    for row in rows:
        cells = [row.get(name) for name in names]
        lines.append([row["arm"], *("-" if v is None else f"{v:.3g}" for v in cells)])
    return aligned(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", required=True, help="data as effebm train takes them")
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(ARMS)), default=list(ARMS))
@click.option("--steps", type=click.IntRange(min=1), default=4000, help="steps of every chain")
@click.option("--chains", type=click.IntRange(min=1), default=64,
              help="chains, and data in a batch")  # fmt: skip
@click.option("--seed", default=0, help="seed of the runs and of the held-out data")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder of the figures; arms that are in it are not repeated")  # fmt: skip
def main(
    data: str, arms: tuple[str, ...], steps: int, chains: int, seed: int, out: Path | None
) -> None:
    """Train on images by single ingredients and compare."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    dataset, log, rows = load(data, seed=seed), Log(out), []
    digest = dataset.digest()
    with click.progressbar(arms, item_show_func=str) as bar:
        for arm in bar:
            config = configuration(arm, data, steps, chains, seed)
            kept = {"config": dataclasses.asdict(config), "digest": digest}
            if (row := log.find(config)) is None:
                row = plain(run(config, dataset)) | kept
                log.add(row)
            elif row.get("digest", digest) != digest:  # early runs have none
                raise click.UsageError(
                    f"out: {out} has runs of other data of the name {config.data}: expected "
                    "another folder"
                )
            rows.append({"arm": arm} | {name: v for name, v in row.items() if name not in kept})
    click.echo(table(rows))
    if out is not None:
        found = {"environment": environment(), "data": source_name(data), "steps": steps}
        found["runs"] = rows
        (out / "results.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
