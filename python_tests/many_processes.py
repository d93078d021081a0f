"""Calls a function in several processes that gloo connects. The function has to lie in a module
that a new process can import."""

import os
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# Processes fork from one that has imported these, since imports take seconds; the last two are
# imported by DistributedDataParallel when it is made.
_PRELOADED = ["distributed_work", "torch._dynamo", "torch._inductor.config"]


def results_of(work, n, *arguments):
    """Returns what ``work(*arguments)`` has returned in each of ``n`` processes."""
    mp.get_context("forkserver").set_forkserver_preload(_PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(
            _process, (n, folder, work, arguments), nprocs=n, start_method="forkserver"
        )
        return [torch.load(Path(folder, f"{rank}.pt")) for rank in range(n)]


def _process(rank, n, folder, work, arguments):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=n)
    torch.save(work(*arguments), Path(folder, f"{rank}.pt"))
    dist.destroy_process_group()
