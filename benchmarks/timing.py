"""How it is timed.

All arms of a case take turns, a sample each, for as many rounds as there is time: whatever the
machine does meanwhile hits all of them alike. What is reported is the median of an arm's samples.

On the CPU a sample is a run of calls between two readings of the clock. The calls go through
several states and gradients, more than the last-level cache holds, in one order that all arms
share, so that no arm finds warm what the one before it has touched. (Of small states there are too
few to fill a cache; they are at home there in use, too.) On a GPU every call is timed by itself, by
events, after a write of a buffer larger than the L2 cache: what this leaves to be written back
stands for what the call itself leaves, and it keeps the GPU busy until the call is queued, so that
the cost of launching, which ``launches.py`` measures, is not in the time.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator

import numpy as np
import torch
from arms import Arm, Case, Step
from torch import Tensor

_CACHE_BYTES = 128 * 2**20  # more than the last-level cache a few cores of a CPU share
_MAX_PAIRS = 32
_FLUSH_BYTES = 512 * 2**20  # several times the L2 cache of any GPU
_SAMPLE_SECONDS = 2e-3  # the clock and the loop cost a thousandth of it
_MIN_ROUNDS = 5

Pairs = Iterator[tuple[Tensor, Tensor]]


@dataclasses.dataclass
class Contender:
    """An arm ready to be timed."""

    arm: Arm
    step: Step
    calls: int  # per sample
    seconds_per_call: float  # a first estimate


def make_pairs(case: Case) -> list[tuple[Tensor, Tensor]]:
    """States and gradients to rotate through."""
    generator = torch.Generator(case.device).manual_seed(0)

    def normal() -> Tensor:
        shape = (case.rows, case.dim)
        t = torch.randn(shape, generator=generator, dtype=case.dtype, device=case.device)
        return t.masked_fill_(t == 0, 1)  # 16-bit normals hold zeros, which forms treat differently

    pair_bytes = 2 * case.elements * case.dtype.itemsize
    count = 2 if case.device == "cuda" else min(_MAX_PAIRS, -(-_CACHE_BYTES // pair_bytes))
    return [(normal(), normal()) for _ in range(count)]


def sample(step: Step, pairs: Pairs, calls: int, device: str = "cpu") -> float:
    """Seconds per call, the mean of ``calls`` calls."""
    if device == "cuda":
        return _sample_cuda(step, pairs, calls)
    start = time.perf_counter()
    for _ in range(calls):
        step(*next(pairs))
    return (time.perf_counter() - start) / calls


def _sample_cuda(step: Step, pairs: Pairs, calls: int) -> float:
    flush = torch.empty(_FLUSH_BYTES, dtype=torch.int8, device="cuda")
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(calls)]
    for start, end in events:
        flush.zero_()
        start.record()
        step(*next(pairs))
        end.record()
    torch.cuda.synchronize()
    return sum(start.elapsed_time(end) for start, end in events) / calls / 1000


def prepare(arm: Arm, pairs: Pairs, device: str) -> Contender:
    """Builds an arm, warms it up and finds how many calls make a sample."""
    step = arm.build(True)
    sample(step, pairs, 2, device)
    calls, seconds = 1, sample(step, pairs, 1, device)
    limit = 2**16 if device == "cpu" else 16  # every call on a GPU comes with a flush
    while calls * seconds < _SAMPLE_SECONDS / 4 and calls < limit:
        calls *= 4
        seconds = sample(step, pairs, calls, device)
    calls = min(limit, max(1, round(_SAMPLE_SECONDS / seconds)))
    return Contender(arm, step, calls, seconds)


def interleave(
    contenders: list[Contender], pairs: Pairs, seconds: float, device: str
) -> dict[str, dict[str, object]]:
    """Times all contenders in turn for ``seconds`` each on average, and sums each one up."""
    samples: dict[str, list[float]] = {c.arm.name: [] for c in contenders}
    deadline = time.perf_counter() + seconds * len(contenders)
    for done in itertools.count():
        if done >= _MIN_ROUNDS and time.perf_counter() >= deadline:
            break
        for c in contenders:
            samples[c.arm.name].append(sample(c.step, pairs, c.calls, device))
    return {c.arm.name: _summary(c, samples[c.arm.name]) for c in contenders}


def _summary(contender: Contender, samples: list[float]) -> dict[str, object]:
    first, median, third = np.quantile(samples, [0.25, 0.5, 0.75])
    per_element = 1e9 / contender.arm.elements
    return {
        "group": contender.arm.group,
        "ns_per_element": median * per_element,
        "quartiles": [first * per_element, third * per_element],
        "us_per_call": median * 1e6,
        "samples": len(samples),
        "calls_per_sample": contender.calls,
    }
