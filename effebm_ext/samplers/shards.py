"""Groups of chains that move at the same time, each on a thread of its own.

Two threads that share every layer of a small network wait for each other at every layer, and for
the operating system where another process is busy. Groups of chains never wait for each other.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from effebm_ext.samplers.state import LangevinState
from effebm_ext.samplers.step_size import StepSize

T = TypeVar("T")


def shards_of(state: LangevinState, n: int) -> list[slice]:
    """Returns the rows of ``n`` groups of chains of nearly equal size; fewer if there are fewer
    chains. On a GPU, which moves all chains at once, and in a compiled graph there is one group."""
    n_chains = len(state.x)
    n = min(n, n_chains) if state.x.is_cpu and not torch.compiler.is_compiling() else 1
    ends = [n_chains * i // n for i in range(n + 1)] if n else [0, 0]
    return [slice(begin, end) for begin, end in itertools.pairwise(ends)]


def part_of_step_size(step_size: StepSize, rows: slice, n_chains: int) -> StepSize:
    """Returns the step size for the chains ``rows`` of ``n_chains``.

    Raises:
        ValueError: it is a tensor of another shape; for a schedule, when it is called.
    """
    if callable(step_size):
        return functools.partial(_scheduled, step_size, rows, n_chains)
    return of_rows(step_size, rows, n_chains, "step_size")


def _scheduled(
    schedule: Callable[[int], float | Tensor], rows: slice, n_chains: int, step: int
) -> float | Tensor:
    return of_rows(schedule(step), rows, n_chains, "step_size")


def of_rows(values: float | Tensor, rows: slice, n_chains: int, name: str) -> float | Tensor:
    """Returns the values of the chains ``rows`` of ``n_chains``, if every chain has its own.

    Raises:
        ValueError: they are a tensor of another shape than ``()``, ``(n_chains,)`` and, for values
            of elements, ``(1, ...)`` or ``(n_chains, ...)``.
    """
    if not isinstance(values, Tensor) or values.dim() == 0:
        return values
    if values.dim() > 1 and values.shape[0] in (1, n_chains):
        return values if values.shape[0] == 1 else values[rows]
    if values.shape != (n_chains,):  # the op would see only the chains of the part
        raise ValueError(
            f"{name}: expected a number or a tensor of shape () or ({n_chains},), got shape "
            f"{tuple(values.shape)}"
        )
    return values[rows]


def on_threads(works: Sequence[Callable[[], T]]) -> list[T]:
    """Calls all functions at the same time, each on a thread of its own, which uses no further
    threads of torch, and returns their results.

    Grad mode, inference mode and autocast are those of the caller. Other modes that torch keeps for
    a thread, such as ``torch.device`` as a context, are not.

    Raises:
        Exception: the first error of a function, after all have ended.
    """
    n_threads, modes = torch.get_num_threads(), _Modes()
    torch.set_num_threads(1)  # new threads take this number
    try:
        with ThreadPoolExecutor(len(works) - 1) as pool:  # ends when all have ended
            others = [pool.submit(modes.call, work) for work in works[1:]]
            return [works[0](), *(other.result() for other in others)]
    finally:
        torch.set_num_threads(n_threads)


class _Modes:
    """Holds the modes of torch in one thread, to call a function under them in another."""

    def __init__(self) -> None:
        self.grad, self.inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        self.autocast = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def call(self, function: Callable[[], T]) -> T:
        enabled, dtype = self.autocast
        with (
            torch.inference_mode(self.inference),
            torch.set_grad_enabled(self.grad),
            torch.autocast("cpu", dtype=dtype, enabled=enabled),
        ):
            return function()
