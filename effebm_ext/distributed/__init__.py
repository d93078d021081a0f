"""Training of one energy in many processes, which torch.distributed connects.

Every process has a replica of the energy in DistributedDataParallel, and its own chains. Hooks
compress the gradients that the processes send to each other (docs/distributed.md).
"""

from effebm_ext.distributed.hooks import (
    BlockSignState,
    CompressionState,
    TopKState,
    block_sign_hook,
    mean_residuals,
    topk_hook,
)
from effebm_ext.distributed.shards import (
    chains_of_shard,
    joined_chains,
    key_of_shard,
    shard_of,
)
from effebm_ext.distributed.trainer import DistributedTrainer

__all__ = [
    "BlockSignState",
    "CompressionState",
    "DistributedTrainer",
    "TopKState",
    "block_sign_hook",
    "chains_of_shard",
    "joined_chains",
    "key_of_shard",
    "mean_residuals",
    "shard_of",
    "topk_hook",
]
