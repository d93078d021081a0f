"""Capture of a function by torch as a CUDA graph."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

_WARM_UPS = 3  # what torch's own make_graphed_callables takes
# torch's allocator may still ask graphs whose capture failed for the memory of their streams.
_failed: list[torch.cuda.CUDAGraph] = []


class Graphs:
    """Captures functions of the same tensors, whose graphs share one pool of memory. They must not
    be replayed at the same time, and nothing but their results is kept from replay to replay.

    Args:
        device: the device of all tensors.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, function: Callable[[], object]) -> None:
        """Calls a function a few times where it will be captured: libraries initialise themselves,
        and caches fill."""
        with torch.cuda.device(self._device), self._autocast():
            current = torch.cuda.current_stream()
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                for _ in range(_WARM_UPS):
                    function()
            current.wait_stream(self._stream)

    def record(self, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """Captures a function. Returns what replays it on the current stream, and the results: the
        replays write the tensors among them.

        Raises:
            Exception: the function cannot be captured.
        """
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), self._autocast():
            current = torch.cuda.current_stream()
            try:
                # Other threads, such as one that copies data to the device, may go on meanwhile.
                with torch.cuda.graph(
                    graph,
                    pool=self._pool,
                    stream=self._stream,
                    capture_error_mode="thread_local",
                ):
                    results = function()
            except BaseException:
                self._give_up(graph)
                torch.cuda.set_stream(current)  # torch stays on the other one
                raise
        return graph.replay, results

    def _autocast(self) -> torch.autocast:
        """Autocast as it is, but for its cache: a weight that it holds would be an old one at a
        replay, and a weight that the graph puts there would be the graph's memory."""
        return torch.autocast(
            "cuda",
            enabled=torch.is_autocast_enabled("cuda"),
            dtype=torch.get_autocast_dtype("cuda"),
            cache_enabled=False,
        )

    def _give_up(self, graph: torch.cuda.CUDAGraph) -> None:
        """Ends what torch has begun for a graph whose capture failed, and does not end itself."""
        _failed.append(graph)
        with contextlib.suppress(Exception):  # it did end it
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), self._pool)
