"""The costs of the kernels: a tier is worth having because it moves no more bytes than it must, in
few enough instructions. With -s the costs are printed: bytes of tensors and of the workspace, as
shares of what the op has to move, and instructions per element."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from calls import STATISTICS, TRANSITION, Call, pair, step
from device import Launch
from library import DTYPES
from ptx_simulator import Counters
from tables import floor_of

import effebm_ext as eff

FLOAT, TOPK, RANDOM = torch.float32, eff.TopK(ratio=0.1), eff.RandomK(ratio=0.1)


class Cost(NamedTuple):
    """A step, or a perturbed pair, and the most that it may cost."""

    rows: int
    dim: int
    compressor: Any
    instructions: float  # per element, just enough
    tensors: float = 1.02  # bytes of them, as a share of those that the op has to move
    workspace: float = 0.01  # and of the workspace
    sums: str | None = None
    is_pair: bool = False

    def call(self, dtype: torch.dtype) -> Call:
        if self.is_pair:
            return pair(self.rows, self.dim, dtype)
        return step(self.rows, self.dim, dtype, self.compressor, sums=self.sums)


# A memory-bound step of float32 on a large GPU can afford about 80 instructions per element.
COSTS = {
    "plain step": Cost(8, 4096, None, 71),
    "statistics": Cost(8, 4096, None, 132, sums=STATISTICS),
    "transition": Cost(8, 4096, None, 129, sums=TRANSITION),
    "top-k, 64": Cost(256, 64, TOPK, 177),
    "top-k, 256": Cost(64, 256, TOPK, 154),
    "top-k, 1000": Cost(16, 1000, TOPK, 118),
    "top-k, 1024": Cost(16, 1024, TOPK, 111),
    "top-k, 3072": Cost(8, 3072, TOPK, 117),
    "top-k, 16384": Cost(2, 16_384, TOPK, 122),
    # The floor has two reads. The workspace is lists, which are written once and searched often.
    "top-k, 100000": Cost(2, 100_000, TOPK, 135, workspace=0.22),
    "top-k, 1000000": Cost(1, 1_000_000, TOPK, 116, workspace=0.11),
    "top-k, statistics": Cost(8, 3072, TOPK, 187, sums=STATISTICS),
    "random-k, 64": Cost(256, 64, RANDOM, 218, 1.04, 0.02),
    "random-k, 1000": Cost(16, 1000, RANDOM, 193, 1.04),
    "random-k, 16384": Cost(2, 16_384, RANDOM, 184, 1.04),
    "random-k, 100000": Cost(2, 100_000, RANDOM, 206, 1.04, 0.26),
    "natural": Cost(8, 4096, eff.NaturalCompression(), 128, 1.03),
    "block-sign, 64": Cost(8, 4096, eff.BlockSign(64), 87),
    "block-sign, 3072": Cost(1, 49_152, eff.BlockSign(3072), 97),
    "block-sign, a row": Cost(16, 3072, eff.BlockSign(3072), 97),
    # By windows.
    "block-sign, 510": Cost(8, 4096, eff.BlockSign(510), 195),
    "block-sign, long row": Cost(1, 1_100_000, eff.BlockSign(1_100_000), 191),
    "pair, 64": Cost(256, 64, None, 171, 1.03, is_pair=True),
    "pair, 4096": Cost(8, 4096, None, 253, 1.04, is_pair=True),
}


def check_cost(name: str, case: Cost, dtype: torch.dtype) -> None:
    call, elements = case.call(dtype), case.rows * case.dim
    launches = call.check()
    floor = floor_of(call.op, launches[0].buffers, call.tier.passes)
    tensors, workspace = (of / floor for of in bytes_moved(launches))
    each = [(one.function, cost(one.counters) / elements) for one in launches]
    instructions = sum(of_one for _, of_one in each)
    listed = ", ".join(f"{function} {of_one:.1f}" for function, of_one in each)
    print(f"\n{name:24} {tensors:6.3f} {workspace:6.3f} {instructions:7.1f}: {listed}")
    assert tensors < case.tensors
    assert workspace < case.workspace
    assert instructions < case.instructions


@pytest.mark.parametrize("case", COSTS)
def test_costs_are_within_their_budgets(case: str) -> None:
    check_cost(case, COSTS[case], FLOAT)


# Of a plain step, per element.
STEPS = {torch.float32: 71, torch.float64: 73, torch.bfloat16: 67, torch.float16: 65}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_step_of_every_dtype_is_one_pass(dtype: torch.dtype) -> None:
    case = COSTS["plain step"]._replace(instructions=STEPS[dtype])
    check_cost(f"plain step, {dtype}".replace("torch.", ""), case, dtype)


def cost(counters: Counters) -> int:
    """Counts the thread-instructions that take an issue slot. mov and cvt.u32.u64, the lower half
    of a pair of registers, take none: ptxas emits nothing for them, but names the registers in the
    instructions that use them. The upper half, shr.u64 by 32, costs as little, but is counted:
    counters do not tell it from other shifts."""
    free = {"cvt.u32.u64"}
    return sum(
        count
        for opcode, count in counters.opcodes.items()
        if opcode not in free and not opcode.startswith("mov.")
    )


def bytes_moved(launches: list[Launch]) -> tuple[float, float]:
    """Counts the bytes that threads load and store, with those of atomics: of tensors, and of the
    workspace."""
    tensors = workspace = 0.0
    for one in launches:
        for b in one.counters.buffers:
            moved = b.read_bytes / readers(one, b.name) + b.written_bytes + b.atomic_bytes
            tensors += moved * (b.name != "workspace")
            workspace += moved * (b.name == "workspace")
    return tensors, workspace


def readers(launch: Launch, buffer: str) -> int:
    """Returns how many threads share a load: a warp has one key, and one row's noise. Of flat
    kernels a warp mostly has one row's cutoff or sum, too, and one block's scale."""
    flat = launch.function in ("flat", "perturb_pair")
    return 32 if buffer in ("key", "noise_stds") or (buffer == "workspace" and flat) else 1
