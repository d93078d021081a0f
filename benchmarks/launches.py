"""How much of a small step on a GPU is its kernels, and how much the launching of them."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from arms import Step
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

STEPS = 60
_REPEATS = 20


def launch_times(step: Step, x: Tensor, g: Tensor) -> dict[str, float]:
    """Microseconds per step: of a loop in Python, of a CUDA graph of it, of its kernels alone.

    What the loop has over the graph is the cost of launching; what the graph has over the kernels
    is the gaps between them.
    """

    def loop() -> None:
        for _ in range(STEPS):
            step(x, g)

    stream = torch.cuda.Stream()  # captures want their warm-up on a stream of its own
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        loop()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loop()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        loop()
        torch.cuda.synchronize()
    kernels = sum(event.self_device_time_total for event in profiler.key_averages())
    return {
        "loop_us": _microseconds(loop),
        "graph_us": _microseconds(graph.replay),
        "kernels_us": kernels / STEPS,
    }


def _microseconds(run: Callable[[], object]) -> float:
    """Median wall time per step of ``run``, which makes :data:`STEPS` of them."""
    times = []
    for _ in range(_REPEATS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times)[_REPEATS // 2] / STEPS * 1e6
