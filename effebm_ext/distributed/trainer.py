"""The training loop in one of many processes."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.distributed.hooks import CompressionState, mean_residuals
from effebm_ext.distributed.shards import chains_of_shard, joined_chains, shard_of
from effebm_ext.objectives import Contrastive
from effebm_ext.rows import Rows
from effebm_ext.training import Trainer


class DistributedTrainer(Trainer):
    """Trains a replica of the energy in one of the processes of the default process group.

    All processes draw the same batches, and each takes its rows of them. So the batches of a run do
    not depend on the number of processes, and a run may go on with another number.

    Args:
        energy: the energy in DistributedDataParallel. Its sampler moves chains by the energy
            within, ``energy.module``, as moving them needs no other process.
        optimizer: as in :class:`effebm_ext.training.Trainer`, with the same options in all
            processes; so are max_grad_norm and schedule.
        objective: contrastive divergence by ``energy``, with the persistent chains of this process
            (:func:`effebm_ext.distributed.key_of_shard`), which never restart.
        data: all of the data, ``(n, *event)``.
        batch_size: rows of data per iteration in all processes together, a multiple of their
            number.
        data_noise: standard deviation of Gaussian noise added to the data.
        generator: CPU generator of the batches and the data noise, in the same state in all
            processes.
        compression: the state of the hook of ``energy``; None: the hook has none.

    Raises:
        TypeError: the chains are not persistent chains.
        ValueError: the chains may restart, or batch_size is no multiple of the processes.
    """

    def __init__(
        self,
        energy: DistributedDataParallel,
        optimizer: torch.optim.Optimizer,
        objective: Contrastive,
        data: Rows,
        *,
        batch_size: int,
        generator: torch.Generator,
        data_noise: float = 0.0,
        max_grad_norm: float = math.inf,
        schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
        compression: CompressionState | None = None,
    ) -> None:
        super().__init__(
            energy,
            optimizer,
            objective,
            data,
            batch_size=batch_size,
            data_noise=data_noise,
            max_grad_norm=max_grad_norm,
            schedule=schedule,
            generator=generator,
        )
        chains = objective.chains
        if not isinstance(chains, PersistentChains):
            raise TypeError(f"chains: expected PersistentChains, got {type(chains).__name__}")
        if chains.restart is not None:
            raise ValueError("chains: expected chains that never restart, got a Restart")
        self.compression = compression
        self.rows = self._shard_of(batch_size)

    def gathered_state_dict(self) -> dict[str, Any] | None:
        """Returns, in process 0, what :meth:`state_dict` would return in a single process that
        moves all chains, with the residuals of all processes as ``compression``; else None. All
        processes have to call this together.
        """
        own = self.state_dict()
        residuals = None if self.compression is None else self.compression.state_dict()
        parts = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
        dist.gather_object((own["chains"], residuals), parts)
        if parts is None:
            return None
        chains, compression = zip(*parts, strict=True)
        joined = {"chains": joined_chains(chains)}
        return {**own, **joined, "compression": None if residuals is None else list(compression)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from where :meth:`gathered_state_dict` was taken. Every process calls this with
        the whole state. With another number of processes, the residuals of each are the mean of the
        residuals that were saved; with the same number, training goes on to the bit.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: the state belongs to another kind of run.
        """
        saved = state["compression"]
        if (saved is None) != (self.compression is None):
            raise ValueError("compression: expected residuals if and only if the hook has them")
        rows = self._shard_of(len(state["chains"]["x"]))
        super().load_state_dict({**state, "chains": chains_of_shard(state["chains"], rows)})
        if self.compression is not None:
            same = len(saved) == dist.get_world_size()
            own = saved[dist.get_rank()] if same else mean_residuals(saved)
            self.compression.load_state_dict(own)

    def _batch(self) -> tuple[Tensor, dict[str, Tensor]]:
        batch, labels = super()._batch()
        return batch[self.rows], labels

    def _shard_of(self, n: int) -> slice:
        return shard_of(n, dist.get_rank(), dist.get_world_size())
