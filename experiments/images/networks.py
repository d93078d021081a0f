"""Which network learns the denoising loss of images soonest?

    python -m experiments.images.networks --data crops.npy --seconds 60

Every network, with a Gaussian base, learns the loss alone with the options of the recipe for
images, for as many seconds of the processor. docs/images.md has the findings.
"""

from __future__ import annotations

import dataclasses
import math
import time

import click

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.trainer import make_trainer
from experiments.common.over_seeds import aligned
from experiments.images.measures import denoising_loss

NETWORKS = ("conv", "resnet", "unet")
_FOREVER = 1_000_000  # iterations, of which the chains rest in all


def trial(config: TrainConfig, dataset: Dataset, seconds: float) -> tuple[int, float]:
    """Trains for so many seconds of the processor, at least one iteration; the learning rate falls
    by a cosine. Returns the iterations and the loss of held-out data."""
    config = config.resolved(dataset.kind)
    rests = {"iterations": _FOREVER, "warm_up": _FOREVER, "learning_rate_schedule": "constant"}
    trainer = make_trainer(dataclasses.replace(config, **rests), dataset)
    start, share = time.process_time(), 0.0
    while share < 1:
        for group in trainer.optimizer.param_groups:
            group["lr"] = config.learning_rate * (1 + math.cos(math.pi * share)) / 2
        trainer.iteration()
        share = (time.process_time() - start) / seconds
    held_out = dataset.split(config.holdout, seed=config.seed_of_data)[1]
    loss, _ = denoising_loss(trainer.model, held_out.x, config.data_noise)
    return trainer.iterations, loss


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", required=True, help="data as effebm train takes them")
@click.option("--network", "networks", multiple=True, type=click.Choice(NETWORKS), default=NETWORKS)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=60.0,
              help="seconds of the processor for each network")  # fmt: skip
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True),
              help="the same for all; else each its own")  # fmt: skip
@click.option("--seed", default=0, help="seed of the runs and of the held-out data")
def main(
    data: str, networks: tuple[str, ...], seconds: float, learning_rate: float | None, seed: int
) -> None:
    """Train networks on images by the denoising loss and compare."""
    lines = [["network", "iterations", "held-out loss"]]
    for network in networks:
        config = TrainConfig(data=data, energy=network, learning_rate=learning_rate, seed=seed)
        n, loss = trial(config, load(data, seed=seed), seconds)
        lines.append([network, str(n), f"{loss:.2f}"])
    click.echo(aligned(lines))


if __name__ == "__main__":
    main()
