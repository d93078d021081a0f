"""How much of a small step on a GPU is its kernels, and how much the launching of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from arms import Step
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

STEPS = 60
_REPEATS = 21
_RUNS = 10  # between two events: so that what the first launch waits for counts for little


def launch_times(step: Step, x: Tensor, g: Tensor) -> dict[str, float]:
    """Microseconds per step: of a loop in Python, of a CUDA graph of it, of the loop's kernels
    alone; and how many kernels and fills the graph has per step.

    What the loop has over the graph is the cost of launching; what the graph has over the kernels
    is the gaps between them, and kernels that only a capture needs.
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
    times = {"loop_us": _microseconds(loop), "graph_us": _microseconds(graph.replay)}
    # Last, as a profiler slows down the launches that come after it.
    return times | {
        "kernels_us": sum(_on_device(loop)) / STEPS,
        "graph_nodes": len(_on_device(graph.replay)) / STEPS,
    }


def _microseconds(run: Callable[[], object]) -> float:
    """Per step of ``run``, which makes :data:`STEPS` of them; the median of several readings."""
    run()
    times = []
    for _ in range(_REPEATS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(_RUNS):
            run()
        end.record()
        torch.cuda.synchronize()
        times.append(1000 * start.elapsed_time(end) / _RUNS / STEPS)
    return statistics.median(times)


def _on_device(run: Callable[[], object]) -> list[float]:
    """Microseconds of everything that ``run`` had the device do."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize()
    events = profiler.events()
    return [e.time_range.elapsed_us() for e in events if e.device_type == DeviceType.CUDA]
