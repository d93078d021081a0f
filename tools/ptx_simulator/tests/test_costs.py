"""The costs of the kernels: a tier is worth having because it moves no more bytes than it must, in
few enough instructions."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from calls import STATISTICS, TRANSITION, Call, compression, step, values
from device import Machine
from library import DTYPES
from ptx_simulator import Counters
from tables import floor_of, total

import effebm_ext as eff

FLOAT, TOPK, RANDOM = torch.float32, eff.TopK(ratio=0.1), eff.RandomK(ratio=0.1)


class Cost(NamedTuple):
    """A step or, ``only_compresses``, a compression, and the most that it may cost."""

    rows: int
    dim: int
    compressor: Any
    instructions: float  # per element, just enough
    workspace: float = 0.02  # bytes per element that threads read there and write
    passes: int = 1
    atomics: float = 0.0  # their bytes, as a share of those that the op has to move
    sums: str | None = None
    only_compresses: bool = False
    machine: Machine = Machine()

    def call(self, dtype: torch.dtype) -> Call:
        if self.only_compresses:
            return compression(values(self.rows, self.dim, dtype), self.compressor)
        return step(self.rows, self.dim, dtype, self.compressor, sums=self.sums)


# A quad has a byte of marks of Random-k, which is written and read.
MARKS = 0.51
COSTS = {
    # A memory-bound step of float32 on a large GPU can afford about 80.
    "step": Cost(8, 4096, None, 80),
    "statistics": Cost(8, 4096, None, 350, sums=STATISTICS),
    "transition": Cost(8, 4096, None, 350, sums=TRANSITION),
    "topk by warps": Cost(16, 1000, TOPK, 140),
    "topk by a block": Cost(1, 55_000, TOPK, 172),
    "topk by clusters": Cost(2, 440_000, TOPK, 176, machine=Machine(clusters=True)),
    # However values lie, 16 blocks add to at most 2048 + 256 counters in each of 3 passes.
    "topk by a resident grid": Cost(2, 440_000, TOPK, 172, workspace=0.2, atomics=0.05),
    "topk by a grid": Cost(
        1, 1_000_000, TOPK, 106, workspace=0.1, passes=4, atomics=0.05, only_compresses=True,
        machine=Machine(multiprocessors=4),
    ),
    "random-k by warps": Cost(16, 1000, RANDOM, 216, MARKS),
    "random-k by a block": Cost(1, 55_000, RANDOM, 235, MARKS),
    "natural compression": Cost(8, 4096, eff.NaturalCompression(), 130),
    "block-sign in lanes": Cost(8, 4096, eff.BlockSign(64), 96),
    "block-sign by segments": Cost(1, 49_152, eff.BlockSign(3072), 220),
    # Every thread reads the sum of its block.
    "block-sign by windows": Cost(
        1, 1_100_000, eff.BlockSign(1_100_000), 127, workspace=1.1, passes=2, only_compresses=True
    ),
}  # fmt: skip


def check_cost(case: Cost, dtype: torch.dtype) -> None:
    call, elements = case.call(dtype), case.rows * case.dim
    launches = call.check(case.machine, case.passes)
    counters, floor = total(launches), floor_of(call.op, launches, case.passes)
    assert bytes_moved(counters) < 1.02 * floor
    assert workspace_bytes(counters) <= case.workspace * elements
    assert counters.global_atomic_bytes <= case.atomics * floor
    assert cost(counters) / elements < case.instructions


@pytest.mark.parametrize("case", COSTS)
def test_costs_are_within_their_budgets(case: str) -> None:
    check_cost(COSTS[case], FLOAT)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_step_of_every_dtype_is_one_pass(dtype: torch.dtype) -> None:
    check_cost(COSTS["step"], dtype)


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


def bytes_moved(counters: Counters) -> float:
    """Counts the bytes of tensors that threads load and store. The key, at one address for a whole
    warp, is read once."""
    return sum(
        b.written_bytes + b.read_bytes / (32 if b.name == "key" else 1)
        for b in counters.buffers
        if b.name != "workspace"
    )


def workspace_bytes(counters: Counters) -> int:
    return sum(b.read_bytes + b.written_bytes for b in counters.buffers if b.name == "workspace")
