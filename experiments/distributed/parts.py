"""What a process trains, and how a run is judged by one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from effebm_ext import Key
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.distributed import (
    BlockSignState,
    CompressionState,
    DistributedTrainer,
    TopKState,
    block_sign_hook,
    key_of_shard,
    shard_of,
    topk_hook,
)
from effebm_ext.objectives import Contrastive
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.evaluation.evaluate import evaluate
from effebm_ext.runs.folder import checkpoint
from effebm_ext.runs.trainer import make_trainer
from experiments.common.records import Row

# Every hook with what makes its state; a run without one sends dense gradients.
HOOKS: dict[str, tuple[Callable[[nn.Module], CompressionState], Any] | None] = {
    "dense": None,
    "topk": (TopKState, topk_hook),
    "block-sign": (BlockSignState, block_sign_hook),
}
CHECKPOINT = "checkpoint.pt"
BASE = TrainConfig(
    data="digits", compressor="none", error_feedback=False, chains=64, batch_size=64,
    langevin_steps=5, iterations=1500, learning_rate=2e-3, data_noise=0.3, ais_steps=400,
)  # fmt: skip
QUICK = dataclasses.replace(BASE, chains=8, batch_size=8, iterations=6, ais_steps=2)


def distributed_trainer(config: TrainConfig, dataset: Dataset, hook: str) -> DistributedTrainer:
    """Returns the trainer of this process: its share of the run that one process would make."""
    single = make_trainer(config, dataset)
    ddp, state = DistributedDataParallel(single.energy), None
    if (made_by := HOOKS[hook]) is not None:
        state = made_by[0](single.energy)
        ddp.register_comm_hook(state, made_by[1])
    chains = single.chains
    assert isinstance(chains, PersistentChains)
    rows = shard_of(len(chains.x), dist.get_rank(), dist.get_world_size())
    own = PersistentChains(chains.sampler, chains.x[rows], rng=key_of_shard(Key(config.seed), rows))
    objective = Contrastive(
        ddp, own, langevin_steps=config.langevin_steps, energy_l2=config.energy_l2
    )
    return DistributedTrainer(
        ddp,
        single.optimizer,
        objective,
        single.data,
        batch_size=config.batch_size,
        generator=single.generator,
        data_noise=single.data_noise,
        max_grad_norm=single.max_grad_norm,
        schedule=single.schedule,
        compression=state,
    )


def payload(trainer: DistributedTrainer) -> int:
    """Returns the bytes that one process hands over for all gradients in one bucket."""
    n = sum(p.numel() for p in trainer.energy.parameters())
    u = torch.randn(1, n, generator=torch.Generator().manual_seed(0))
    return u.nbytes if trainer.compression is None else trainer.compression.pack(u).nbytes


def save(path: Path, trainer: DistributedTrainer, of: Row) -> None:
    """Writes a checkpoint, in process 0; every process has to call this."""
    state = trainer.gathered_state_dict()
    if state is not None:
        checkpoint.save(path, {"of": of, "trainer": state})


def restore(path: Path, trainer: DistributedTrainer, of: Row) -> None:
    """Continues from a checkpoint if there is one.

    Raises:
        ValueError: it belongs to another run.
    """
    if not path.exists():
        return
    saved = checkpoint.load(path)
    if saved["of"] != of:
        raise ValueError(f"out: expected a checkpoint of {of}, got {saved['of']}")
    trainer.load_state_dict(saved["trainer"])


def judged(config: TrainConfig, dataset: Dataset, path: Path) -> Row:
    """Returns the cross-entropy of a checkpoint, which a single process takes as its own."""
    trainer = make_trainer(config, dataset)
    trainer.load_state_dict(checkpoint.load(path)["trainer"])
    found = evaluate(config, dataset, trainer.model, trainer.samples.float())
    return {
        "iterations": trainer.iterations,
        "cross_entropy": found.cross_entropy_bennett,
        "cross_entropy_error": found.log_z_bennett_error,
        "gaussian": found.cross_entropy_gaussian,
    }
