"""What the kernels are expected to move, and which of them take which rows. A new kernel changes
these tables and no test."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from device import Launch, Machine
from ptx_simulator import Counters, Traffic

import effebm_ext as eff

PASSES = -1  # as often as the compressor's input is read
# How often each op reads and writes each tensor.
TRAFFIC = {
    "compress": {"x": (PASSES, 0), "out": (0, 1)},
    "langevin_step_": {
        "x": (1, 1), "grad": (PASSES, 0), "residual": (PASSES, 1), "statistics": (0, 1),
    },
    "langevin_transition": {
        "x": (1, 0), "grad": (PASSES, 0), "residual": (PASSES, 1), "out": (0, 1), "drift": (0, 1),
        "row_sums": (0, 1),
    },
    "drift": {"grad": (PASSES, 0), "delta": (1, 0), "drift": (0, 1), "row_sums": (0, 1)},
    "perturbed_pair": {"x": (1, 0), "out": (0, 1), "noise_dot": (0, 1)},
}  # fmt: skip
# Of these every chain has a few values, which are accessed one by one.
PER_CHAIN = {"statistics", "row_sums", "noise_dot"}


class Tier(NamedTuple):
    """A compressor, and the kernel that takes its rows on a device with so many multiprocessors,
    whose blocks have shared memory for so many elements of a row; None: a real device."""

    compressor: eff.TopK | eff.BlockSign | eff.RandomK | eff.NaturalCompression | None
    kernel: str  # a part of the name of its function
    passes: int = 1  # over the compressor's input
    passes_of_double: int | None = None  # if different
    multiprocessors: int = 16
    elements: int | None = None
    clusters: bool = False
    cooperative: bool = False

    def passes_of(self, dtype: torch.dtype) -> int:
        special = self.passes_of_double if dtype == torch.float64 else None
        return special or self.passes

    def machine(self, compute: torch.dtype, has_sums: bool) -> Machine:
        if self.elements is None:
            return Machine(most_blocks=2)
        random = isinstance(self.compressor, eff.RandomK)  # chooses among words of 32 bits
        size = 4 if random else compute.itemsize
        shared = _COUNTS + (_SUMS if has_sums and not random else 0) + self.elements * size
        return Machine(self.multiprocessors, shared, self.clusters, most_blocks=2)

    def check_launched(self, launches: list[Launch]) -> None:
        fitting = [one for one in launches if self.kernel in one.kernel.split("<")[0]]
        assert fitting, [one.kernel for one in launches]
        for one in fitting:
            assert one.how["cooperative"] == self.cooperative
            assert (one.how["cluster"] > 1) == self.clusters


# Shared memory of a block besides elements: of the counts of Top-k, and of sums over rows.
_COUNTS, _SUMS = (2048 * 4) + 256, 2 * 2048 * 4
_TEAM: dict[str, Any] = {"kernel": "topk_rows", "elements": 1024}  # slices of a tile


def team_tiers(compressor: eff.TopK | eff.RandomK, passes: int, of_double: int) -> dict[str, Tier]:
    """Returns the tiers by which blocks share rows; the grid's makes so many passes."""
    return {
        "cluster": Tier(compressor, clusters=True, **_TEAM),
        "resident grid": Tier(compressor, multiprocessors=6, cooperative=True, **_TEAM),
        "grid": Tier(
            compressor, passes=passes, passes_of_double=of_double, multiprocessors=2,
            cooperative=True, **_TEAM,
        ),
    }  # fmt: skip


_TOPK, _RANDOM = eff.TopK(ratio=0.3), eff.RandomK(ratio=0.3)
# One pass per 11 bits of a key, and a last one.
TOPK_TIERS = {"block": Tier(_TOPK, "topk_rows"), **team_tiers(_TOPK, 4, 7)}
RANDOM_TIERS = team_tiers(_RANDOM, 1, 1)
LANES, SEGMENTS = Tier(eff.BlockSign(64), "tiles"), Tier(eff.BlockSign(510), "segments")
WINDOWS = Tier(eff.BlockSign(510), "windows", passes=2, elements=0)
ALL_TIERS = {
    "no compressor": Tier(None, "tiles"),
    **TOPK_TIERS,
    "lanes": LANES,
    "segments": SEGMENTS,
    "windows": WINDOWS,
    "random-k": Tier(eff.RandomK(ratio=0.3, unbiased=False), "topk"),
    "natural": Tier(eff.NaturalCompression(2), "tiles"),
}


def check_traffic(op: str, launches: list[Launch], passes: int, norms: int, vector: bool) -> None:
    """``norms``: the passes that norms of gradients take; ``vector``: rows are read by quads."""
    counters, buffers = total(launches), launches[0].buffers
    for name, (reads, writes) in TRAFFIC[op].items():
        if name not in buffers:
            continue
        traffic, array = counters.buffer(name), buffers[name]
        often = passes if reads == PASSES else reads
        often += norms if name == "grad" else 0
        moved = (traffic.read_bytes, traffic.written_bytes)
        assert moved == (often * array.nbytes, writes * array.nbytes), name
        one_by_one = not vector or name in PER_CHAIN
        width = array.itemsize if one_by_one else min(16, 4 * array.itemsize)
        assert set(traffic.store_widths) <= {width}, name
        assert often != 1 or set(traffic.load_widths) == {width}, name


def floor_of(op: str, launches: list[Launch], passes: int) -> int:
    """Returns how many bytes an op has to move."""
    buffers = launches[0].buffers
    return sum(
        buffers[name].nbytes * ((passes if reads == PASSES else reads) + writes)
        for name, (reads, writes) in TRAFFIC[op].items()
        if name in buffers
    )


def total(launches: list[Launch]) -> Counters:
    """Adds up what launches execute and move, one after the other."""
    added, buffers = Counters(), dict[str, Traffic]()
    for counters in (one.counters for one in launches):
        added.instructions.update(counters.instructions)
        added.opcodes.update(counters.opcodes)
        for one in counters.buffers:
            all_ = buffers.setdefault(one.name, Traffic(one.name))
            all_.read_bytes += one.read_bytes
            all_.written_bytes += one.written_bytes
            all_.load_widths.update(one.load_widths)
            all_.store_widths.update(one.store_widths)
            all_.atomics += one.atomics
            all_.atomic_bytes += one.atomic_bytes
    added.buffers = list(buffers.values())
    return added
