"""What the kernels are expected to move, and which of them take which rows. A new kernel changes
these tables and no test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from device import Launch
from ptx_simulator import Counters, Traffic
from torch import Tensor

import effebm_ext as eff

Compressor = (
    eff.TopK | eff.BlockSign | eff.RandomK | eff.RandomBlock | eff.NaturalCompression | None
)

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
    """The kernels that take some rows, in turn."""

    kernels: tuple[str, ...]  # names of their functions
    passes: int = 1  # over the compressor's input, besides what SEARCHES read
    samples: bool = True  # that searches read are samples of the input
    quads: int = 0  # of each row that are touched; 0: all


FLAT = Tier(("flat",))
HELD = Tier(("topk_rows",))
SELECTED = Tier(("topk_rows", "flat"), 2)
LONG = Tier(("bracket_rows", "classify_rows", "select_from_lists", "flat"), 2)
BLOCKS = Tier(("block_sign_rows",))
WINDOWS = Tier(("sum_windows", "join_windows", "flat"), 2)
PAIR = Tier(("perturb_pair",))

# Samples, and what is looked at once more where a sample does not tell enough.
SEARCHES = ("bracket_rows", "select_from_lists")
BY_ELEMENT = "sum_windows"  # reads elements one by one
GROUP, LONG_TILE, SAMPLES_OF_THREAD, SAMPLE_SHARE = 1024, 4096, 32, 8


def compute_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def most_held(compute: torch.dtype) -> int:
    """Returns the longest row, or block, that the threads of a block have in registers."""
    return 8192 if compute == torch.float64 else 16_384


def samples(dim: int, compute: torch.dtype, again: bool = False) -> int:
    """Returns how many elements of a long row a sample has, the first one or another one."""
    many = most_held(compute) // SAMPLES_OF_THREAD
    threads = many if again or dim >= 1 << 19 else 128
    return min(SAMPLES_OF_THREAD * threads, -(-dim // 4) // SAMPLE_SHARE * 4)


def join_of(dim: int) -> str:
    """Returns the kernel that joins the sums of a row's groups."""
    return "join_few_groups" if dim <= 32 * GROUP else "join_groups"


def tier_of_pair(dim: int) -> Tier:
    if dim <= GROUP:
        return PAIR
    return Tier(("direction_squares", join_of(dim), "perturb_pair", join_of(dim)))


def size_in_lanes(size: int, dim: int) -> int:
    """Returns the size of blocks in the lanes of a warp, or 0 for other blocks."""
    return next((s for s in (4, 8, 16, 32, 64, 128) if s == size or size >= dim <= s), 0)


def tier_of(compressor: Compressor, x: Tensor, reports: bool, in_place: bool) -> Tier:
    """``x``: the compressor's input; ``reports``: a drift or sums over rows are wanted;
    ``in_place``: of a state only what moves is written."""
    if compressor is None or isinstance(compressor, eff.NaturalCompression):
        return FLAT
    if isinstance(compressor, eff.RandomBlock):
        quads = min(-(-x.shape[1] // 4), -(-compressor.entries(x.shape[1]) // 4) + 2)
        return Tier(("block_of_rows",), quads=quads) if in_place and not reports else FLAT
    dim, held = x.shape[1], most_held(compute_type(x.dtype))
    _, size, offsets = compressor.kernel_arguments(x)
    if isinstance(compressor, eff.BlockSign):
        return _tier_of_blocks(0 if offsets is not None else size, dim, held, reports)
    if not 0 < size < dim:  # nothing is kept, or all
        return FLAT
    if isinstance(compressor, eff.RandomK):  # looks at random words, and not at its input
        tier = SELECTED if dim <= most_held(torch.float32) else LONG
        return tier._replace(passes=1, samples=False)
    return LONG if dim > held else SELECTED if reports else HELD


def _tier_of_blocks(size: int, dim: int, held: int, reports: bool) -> Tier:
    if size == 0:
        return WINDOWS._replace(kernels=("check_offsets", *WINDOWS.kernels))
    if size_in_lanes(size, dim):
        return FLAT
    in_quads = size >= dim or size % 4 == 0
    return BLOCKS if in_quads and min(size, dim) <= held and not reports else WINDOWS


def takes_eights(compressor: Compressor, x: Tensor) -> bool:
    """Tells whether plain steps of 16 bits have eight elements per thread of a flat kernel."""
    if isinstance(compressor, eff.NaturalCompression | eff.RandomBlock):
        return False
    if isinstance(compressor, eff.BlockSign):
        size = size_in_lanes(compressor.kernel_arguments(x)[1], x.shape[1])
        return compressor.block_offsets is None and size >= 8
    if isinstance(compressor, eff.RandomK):
        return compressor.kernel_arguments(x)[1] in (0, x.shape[1])
    return True


class Reach(NamedTuple):
    """How the kernels of a call reach rows, and what they may look at again."""

    quads: bool  # by vectors of four elements
    eights: bool  # and flat kernels by eight, of 16 bits
    norms: int  # passes that norms of gradients take
    again: int  # passes over rows, and samples, of searches whose first samples mislead


def check_traffic(op: str, launches: list[Launch], tier: Tier, reach: Reach) -> None:
    buffers = launches[0].buffers
    searches = [one for one in launches if one.function in SEARCHES]
    sure = total([one for one in launches if one.function not in SEARCHES])
    for name, (reads, writes) in TRAFFIC[op].items():
        if name not in buffers:
            continue
        array = buffers[name]
        often = tier.passes if reads == PASSES else reads
        size, norms = array.nbytes, reach.norms * array.nbytes if name == "grad" else 0
        if tier.quads and reach.quads:
            size = len(array) * tier.quads * 4 * array.itemsize
        moved = (sure.buffer(name).read_bytes, sure.buffer(name).written_bytes)
        expected = (often * size + norms, writes * size)
        if tier.quads and not reach.quads:  # a row ends within a quad, which may be touched or not
            assert all(m <= e for m, e in zip(moved, expected, strict=True)), name
        else:
            assert moved == expected, name
        for launch in searches:
            samples_it = reads == PASSES and tier.samples
            most = _most_read(launch.function, array, reach) if samples_it else 0
            assert launch.counters.buffer(name).read_bytes <= most, (launch.function, name)
            assert launch.counters.buffer(name).written_bytes == 0
        for launch in launches:
            width = _width(launch.function, name, array, reach)
            traffic = launch.counters.buffer(name)
            assert {*traffic.load_widths, *traffic.store_widths} <= {width}, (launch.function, name)


def _most_read(function: str, array: np.ndarray, reach: Reach) -> int:
    """Returns the bytes of a tensor that a search may read; threads read what ties it cuts."""
    count, dim = array.shape
    compute = torch.float64 if array.dtype == np.float64 else torch.float32
    again = LONG_TILE + reach.again * (samples(dim, compute, again=True) + dim)
    most = samples(dim, compute) if function == "bracket_rows" else again
    return count * most * array.itemsize


def _width(function: str, name: str, array: np.ndarray, reach: Reach) -> int:
    if not reach.quads or name in PER_CHAIN or function == BY_ELEMENT:
        return array.itemsize
    elements = 8 if reach.eights and function == "flat" else 4
    return min(16, elements * array.itemsize)


def floor_of(op: str, buffers: Mapping[str, np.ndarray], passes: int) -> int:
    """Returns how many bytes an op has to move."""
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
