"""Train on digits in many processes, with gradients that are sent dense or compressed.

    torchrun --nproc-per-node 4 -m experiments.distributed --hook block-sign --out runs/four

A run that was stopped goes on from its last checkpoint, also in another number of processes. Its
cross-entropy is found at the end. docs/distributed.md has the findings.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click
import torch.distributed as dist

from effebm_ext.runs.atomic_files import write_text
from effebm_ext.runs.data.dataset import load
from experiments.distributed.parts import (
    BASE,
    CHECKPOINT,
    HOOKS,
    QUICK,
    distributed_trainer,
    judged,
    payload,
    restore,
    save,
)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--hook", type=click.Choice(list(HOOKS)), default="block-sign")
@click.option("--seed", default=0)
@click.option("--iterations", type=click.IntRange(min=1), help="[default: 1500, with --quick 6]")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True),
              default=BASE.learning_rate, help="of Adam; it falls to 0 by a cosine")  # fmt: skip
@click.option("--checkpoint-every", type=click.IntRange(min=1), default=500)
@click.option("--quick", is_flag=True, help="a few iterations, in seconds")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="folder of the run, which all processes see")  # fmt: skip
def main(
    hook: str,
    seed: int,
    iterations: int | None,
    learning_rate: float,
    checkpoint_every: int,
    quick: bool,
    out: Path,
) -> None:
    """Train on digits in the processes that torchrun has started."""
    base = QUICK if quick else BASE
    config = dataclasses.replace(base, seed=seed, learning_rate=learning_rate)
    if iterations is not None:
        config = dataclasses.replace(config, iterations=iterations)
    dataset = load("digits")
    config = config.resolved(dataset.kind)
    of = {"config": dataclasses.asdict(config), "hook": hook}
    path = out / CHECKPOINT
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    if rank == 0:
        out.mkdir(parents=True, exist_ok=True)
    trainer = distributed_trainer(config, dataset, hook)
    restore(path, trainer, of)
    if rank == 0:
        print(f"{world_size} processes, from iteration {trainer.iterations}", flush=True)
    while trainer.iterations < config.iterations:
        metrics = trainer.iteration()
        if trainer.iterations % checkpoint_every == 0 or trainer.iterations == config.iterations:
            save(path, trainer, of)
            if rank == 0:
                gap = metrics["energy_gap"]
                print(f"iteration {trainer.iterations}: energy gap {gap:+.3f}", flush=True)
    row = {"hook": hook, "seed": seed, "learning_rate": learning_rate, "processes": world_size}
    row["payload"] = payload(trainer)
    dist.destroy_process_group()
    if rank == 0:
        row |= judged(config, dataset, path)
        write_text(out / "result.json", json.dumps(row) + "\n")
        print(json.dumps(row))


if __name__ == "__main__":
    main()
