"""The launch functions of csrc/cuda, for the simulator."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from library import (
    DTYPES,
    NAMESPACE,
    THREADS,
    Blocks,
    ChoiceParams,
    CompressorParams,
    CompressParams,
    Device,
    GroupSums,
    KeepMarked,
    SignBySums,
    SignInLanes,
    StepParams,
    TeamShape,
    compiled,
    fields,
    total,
)
from ptx_simulator import Counters, launch

from effebm_ext import _C

QUAD, TILES_PER_TURN, SUM_WIDTH, ROW_SUMS = 4, 4, 1024, 2
WARP, WARPS = 32, THREADS // 32
COUNTERS_OF_A_TEAM = 3 * (2048 + 256) + 1024  # Grid::Counters, in words
EMPTY = b"\0"  # an argument of an empty class


def parts(n: int, size: int) -> int:
    return -(-n // size)


@dataclasses.dataclass
class Work:
    """Rows, and the op whose kernels take them."""

    source: str  # the file of the kernels
    row: str  # the class that reads and writes rows
    params: StepParams | CompressParams | ChoiceParams
    device: Device
    dtype: torch.dtype  # the state's
    blocks: Blocks
    k: int

    def __post_init__(self) -> None:
        self.rows, self.dim = self.params.rows, self.params.dim
        self.vector = self.dim % QUAD == 0  # arrays are aligned like memory of cudaMalloc
        self.wide = np.dtype("f8" if self.dtype == torch.float64 else "f4")  # the compute type
        self.wide_name = "double" if self.wide.itemsize == 8 else "float"

    def types(self, row: str = "{}", team: str = "") -> str:
        """Returns the template arguments of a kernel: rows, a team, parameters."""
        space = "effebm::" if isinstance(self.params, CompressParams) else NAMESPACE
        row = row.format(NAMESPACE + self.row)
        return f"{row}, {team}{space}{type(self.params).__name__}"

    def resident_bytes(self, elements: int) -> int:
        return parts(elements, QUAD) * QUAD * self.wide.itemsize

    def space(self, name: str, count: int) -> int:
        """Returns the address of so many values of the compute type."""
        return self.device.space(name, count, self.wide)

    def run(
        self, kernel: str, grid: int, arguments: list[Any], threads: int = THREADS, **how: Any
    ) -> Counters:
        """Launches the kernel whose name begins with `kernel`, template arguments included, as no
        other kernel's name does."""
        kernels = compiled(self.source)
        return launch(
            kernels.find(kernel), grid, threads, arguments, buffers=self.device.arrays, **how
        )


def tiles(work: Work, compress: str, how: bytes | ctypes.Structure, grid: int | None) -> Counters:
    log_width = 0
    while QUAD << log_width < work.dim and 1 << log_width < THREADS:
        log_width += 1
    turn = TILES_PER_TURN * THREADS * QUAD
    turns = parts(work.rows, THREADS >> log_width) * parts(work.dim, turn)
    kernel = f"tiles<{work.types()}, {NAMESPACE}{compress}"
    arguments = [work.params, how, np.int32(log_width), work.vector]
    return work.run(kernel, grid or turns, arguments)


def keep_all(work: Work, grid: int | None = None) -> Counters:
    return tiles(work, "Keep<true>", EMPTY, grid)


def keep_nothing(work: Work, grid: int | None = None) -> Counters:
    return tiles(work, "Keep<false>", EMPTY, grid)


def natural(work: Work, grid: int | None = None) -> Counters:
    element = f"{NAMESPACE.replace('cuda_kernels', 'core')}Natural"
    return tiles(work, f"ByElement<{element}>", EMPTY, grid)


def topk_warps(work: Work, grid: int | None = None) -> Counters:
    quads = 2 if work.dim <= 2 * WARP * QUAD else 8
    return work.run(
        f"topk_warps<{work.types()}, {quads}>",
        grid or parts(work.rows, WARPS),
        [work.params, np.int64(work.k), work.vector],
        dynamic_shared=work.resident_bytes(WARPS * quads * WARP * QUAD),
    )


def topk_rows(
    work: Work, team: str, blocks: int = 1, teams: int | None = None, threads: int = THREADS,
    resident: bool = True,
) -> Counters:  # fmt: skip
    """Launches teams of so many blocks; a grid's have fewer if slices were less than a tile."""
    teams, tile = teams or work.rows, threads * QUAD
    shape, size, slice_ = TeamShape(1), 1, work.dim
    if team != "SingleBlock":
        slice_ = parts(parts(work.dim, blocks), tile) * tile
        size = blocks if team == "Cluster" else parts(work.dim, slice_)
        shape = TeamShape(size, slice_)
    if team == "Grid":
        shape.counters = work.device.space("counters", teams * COUNTERS_OF_A_TEAM, np.uint32)
    close = " >" if work.row.endswith(">") else ">"  # as names of kernels have it
    row = f"{NAMESPACE}Resident<{{}}{close}" if resident else "{}"
    return work.run(
        f"topk_rows<{work.types(row, f'{NAMESPACE}{team}, ')}>",
        teams * size,
        [work.params, np.int64(work.k), work.vector, shape],
        threads,
        dynamic_shared=work.resident_bytes(slice_) if resident else 0,
        cluster=size if team == "Cluster" else None,
        cooperative=team == "Grid",
    )


def block_sign_lanes(work: Work, grid: int | None = None) -> Counters:
    size, lanes = work.blocks.size, 1
    while size != lanes * QUAD and not work.dim <= lanes * QUAD <= size:
        lanes *= 2
    assert lanes <= WARP
    return tiles(work, "SignInLanes", SignInLanes(work.dim, lanes), grid)


def block_sign_segments(
    work: Work, segment: int | None = None, threads: int = THREADS, grid: int | None = None
) -> Counters:
    segment = segment or work.dim
    return work.run(
        f"block_sign_segments<{work.types()}>",
        grid or work.rows * parts(work.dim, segment),
        [work.params, work.blocks, np.int64(segment), work.vector],
        threads,
        dynamic_shared=work.resident_bytes(segment),
    )


def block_sign_windows(work: Work, grid: int | None = None) -> Counters:
    count = work.blocks.count or parts(work.dim, work.blocks.size)
    per_row = count + work.dim // SUM_WIDTH + 1
    groups = GroupSums(work.space("block_sums", work.rows * per_row), per_row)
    windows = work.rows * parts(work.dim, SUM_WIDTH)
    sizes = [np.int64(work.rows), np.int64(work.dim)]
    sum_, join = f"sum_windows<{work.types()}>", f"join_windows<{work.wide_name}>"
    return total(
        work.run(sum_, grid or parts(windows, WARPS), [work.params, work.blocks, groups]),
        work.run(join, grid or windows, [*sizes, work.blocks, groups]),
        tiles(work, "SignBySums", SignBySums(work.blocks, groups), grid),
    )


Tier = Callable[[Work], Counters]


def random_k(work: Work, choose: Tier, grid: int | None = None) -> Counters:
    """`choose`: the tier of Top-k that takes the random words."""
    given = {name: getattr(work.params, name) for name in fields(CompressorParams)}
    marks = work.device.space("marks", work.rows * parts(work.dim, QUAD), np.uint8)
    params = ChoiceParams(**given, rows=work.rows, dim=work.dim, marks=marks)
    words = Work(work.source, "ChoiceRow", params, work.device, torch.float32, work.blocks, work.k)
    return total(choose(words), tiles(work, "KeepMarked", KeepMarked(marks), grid))


def step(work: Work, tier: Tier) -> Counters:
    """Launches a whole step, whose rows the tier's kernels take."""
    params, groups, launches = work.params, parts(work.dim, SUM_WIDTH), []
    assert isinstance(params, StepParams)
    if params.clip == _C.CLIP_NORM:
        params.norm_scales = work.space("norm_scales", work.rows)
        squares = work.space("squares", work.rows * groups)
        kernel, grid = f"sum_squares<{DTYPES[work.dtype]}>", parts(work.rows * groups, WARPS)
        launches.append(work.run(kernel, grid, [params, np.uint64(squares)]))
        scales, limit = params.norm_scales, params.clip_limit
        launches.append(join_groups(work, squares, work.rows, groups, scales, limit))
    sums = work.rows * ROW_SUMS
    if params.row_sums_of:
        params.group_sums = params.row_sums
        if groups > 1:
            params.group_sums = work.space("group_sums", sums * groups)
    launches.append(tier(work))
    if params.row_sums_of and groups > 1:
        launches.append(join_groups(work, params.group_sums, sums, groups, params.row_sums))
    return total(*launches)


def join_groups(
    work: Work, sums: int, rows: int, groups: int, out: int, limit: float | None = None
) -> Counters:
    """Joins sums of groups into sums of rows, or into scales if there is a limit of norms."""
    result = "AsSum" if limit is None else "AsNormScale"
    how = EMPTY if limit is None else bytes(ctypes.c_double(limit))
    arguments = [np.uint64(sums), np.int64(rows), np.int64(groups), np.uint64(out), how]
    return work.run(f"join_groups<{work.wide_name}, {NAMESPACE}{result}>", rows, arguments)
