"""How long iterations take by network, and what they send: namespaces.sh runs it.

An iteration of training is timed, and an exchange of gradients, which is the backward pass of one
row. The hooks take turns in the same processes, so that all meet the same load. Bytes are those
that the network device of process 0 has sent, with all headers.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import statistics
import time
from pathlib import Path

import click
import torch.distributed as dist

from effebm_ext.distributed import DistributedTrainer
from effebm_ext.runs.data.dataset import load
from experiments.common.records import Row
from experiments.distributed.parts import BASE, HOOKS, distributed_trainer, payload

_WARM_UP = 3  # iterations, of which the first makes the buckets


def sent() -> int:
    """Returns the bytes that the network device has sent so far."""
    device = Path("/sys/class/net", os.environ["GLOO_SOCKET_IFNAME"])
    return int((device / "statistics" / "tx_bytes").read_text())


def exchange(trainer: DistributedTrainer) -> None:
    """Finds the gradient of one row, which takes little time but for what is sent."""
    trainer.optimizer.zero_grad()
    trainer.energy(trainer.data[:1]).sum().backward()


def measured(trainers: dict[str, DistributedTrainer], rounds: int) -> list[Row]:
    """Returns, for every hook and both works, quartiles of the time and the median of the bytes."""
    works = {"iteration": DistributedTrainer.iteration, "exchange": exchange}
    turns = list(itertools.product(works, trainers))
    seen: dict[tuple[str, str], list[tuple[float, int]]] = {turn: [] for turn in turns}
    for _ in range(_WARM_UP + rounds):
        for work, hook in turns:
            dist.barrier()
            begin, before = time.perf_counter(), sent()
            works[work](trainers[hook])
            seen[work, hook].append((time.perf_counter() - begin, sent() - before))
    rows = []
    for (work, hook), pairs in seen.items():
        seconds, sizes = zip(*pairs[_WARM_UP:], strict=True)
        quartiles = [round(1000 * q, 2) for q in statistics.quantiles(seconds, n=4)]
        row = {"work": work, "hook": hook, "payload": payload(trainers[hook])}
        rows.append({**row, "sent": statistics.median(sizes), "ms": quartiles})
    return rows


@click.command()
@click.option("--width", type=click.IntRange(min=1), help="features of the energy's first layer")
@click.option("--rounds", type=click.IntRange(min=2), default=30, help="iterations of every hook")
def main(width: int | None, rounds: int) -> None:
    """Time iterations with every hook in turn."""
    dataset = load("digits")
    config = dataclasses.replace(BASE, width=width).resolved(dataset.kind)
    dist.init_process_group("gloo")
    trainers = {hook: distributed_trainer(config, dataset, hook) for hook in HOOKS}
    rows = measured(trainers, rounds)
    if dist.get_rank() == 0:
        print(*map(json.dumps, rows), sep="\n", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
