"""The state of a launch: threads, symbols, memories, and the built instructions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .counters import instruction_class
from .frame import Frame, Lanes
from .memory import GlobalMemory, Group, Region
from .shared import SharedMemory
from .syntax import Function, Instruction, PtxError

# Generic addresses: the top byte names the window. In the shared one, bits 24 to 55 are the block.
SHARED_WINDOW, LOCAL_WINDOW = 1 << 56, 2 << 56
_OFFSET = np.uint64(0xFFFFFF)

Step = Callable[[Lanes], None]


@dataclass(frozen=True)
class Shape:
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    cluster: int

    @property
    def blocks(self) -> int:
        return self.grid[0] * self.grid[1] * self.grid[2]

    @property
    def block_threads(self) -> int:
        return self.block[0] * self.block[1] * self.block[2]

    @property
    def warps_per_block(self) -> int:
        return -(-self.block_threads // 32)


class Machine:
    """Blocks are padded to whole warps; the padding counts as exited from the start."""

    def __init__(
        self,
        functions: list[Function],
        shape: Shape,
        symbols: dict[str, int],
        global_memory: GlobalMemory,
        shared: SharedMemory,
        dynamic_shared: int,
        grid_workspace: int = 0,
    ) -> None:
        self.shape, self.symbols, self.grid_workspace = shape, symbols, grid_workspace
        self.global_memory, self.shared, self.dynamic_shared = global_memory, shared, dynamic_shared
        self.padded = shape.warps_per_block * 32
        self.threads = shape.blocks * self.padded
        self.number = np.arange(self.threads)
        self.block = self.number // self.padded
        self.lane = (self.number % 32).astype(np.uint32)
        self.in_block = self.number % self.padded
        self.carry = np.zeros(self.threads, bool)
        self.exists = self.in_block < shape.block_threads
        self.frames: list[Frame] = []
        self.frame_at: list[Frame] = []
        self.code: list[Instruction] = []
        local_end = 0
        for function in functions:  # callees first: threads in a call run before those after it
            frame = Frame(self, function, len(self.code), local_end)
            local_end = frame.local_end
            self.frames.append(frame)
            self.code += function.code
            self.frame_at += [frame] * len(function.code)
        self.local_bytes = -(-local_end // 16) * 16
        self.local = Region(np.zeros(self.threads * self.local_bytes, np.uint8))
        self.classes = [instruction_class(i) for i in self.code]

    def special(self, name: str, at: Instruction) -> np.ndarray:
        """Returns a special register of every thread."""
        shape, within = self.shape, self.in_block
        cluster, one = shape.cluster, np.ones(self.threads, np.uint32)
        rank = self.block % cluster
        grid_of_clusters = (shape.grid[0] // cluster, *shape.grid[1:])
        stem, _, axis = name.partition(".")
        dimension = "xyz".find(axis) if axis else -1
        for index, count, flat, extent in (
            ("%tid", "%ntid", within, shape.block),
            ("%ctaid", "%nctaid", self.block, shape.grid),
            ("%cluster_ctaid", "%cluster_nctaid", rank, (cluster, 1, 1)),
            ("%clusterid", "%nclusterid", self.block // cluster, grid_of_clusters),
        ):
            if dimension >= 0 and stem == count:
                return one * np.uint32(extent[dimension])
            if dimension >= 0 and stem == index:
                stride = int(np.prod(extent[:dimension], dtype=np.int64))
                return (flat // stride % extent[dimension]).astype(np.uint32)
        values = {
            "%laneid": self.lane,
            "%warpid": within // 32,
            "%nwarpid": one * shape.warps_per_block,
            "%cluster_ctarank": rank,
            "%cluster_nctarank": one * cluster,
            "%is_explicit_cluster": one * (cluster > 1),
            "%dynamic_smem_size": one * self.dynamic_shared,
            # cooperative_groups looks here for the barrier of the grid: high word, low word.
            "%envreg1": np.full(self.threads, self.grid_workspace >> 32, np.uint64),
            "%envreg2": np.full(self.threads, self.grid_workspace, np.uint64),
            "%lanemask_eq": one << self.lane,
            "%lanemask_lt": (one << self.lane) - one,
            "%lanemask_ge": ~((one << self.lane) - one),
        }
        values["%lanemask_le"] = values["%lanemask_lt"] | values["%lanemask_eq"]
        values["%lanemask_gt"] = ~values["%lanemask_le"]
        if name not in values:
            raise at.error(f"special register {name} is not supported")
        return values[name].astype(np.uint32)

    def resolve(
        self,
        space: str,
        address: np.ndarray,
        lanes: Lanes,
        nbytes: int,
        dtype: np.dtype,
        kind: str,
        at: Instruction,
    ) -> list[Group]:
        """Finds the lanes' accesses of nbytes, after all checks; kind is r, w, R, W or a."""
        thread = self.number[lanes]
        address = np.broadcast_to(address, thread.shape)
        if (address % np.uint64(nbytes)).any():
            worst = int(address[np.flatnonzero(address % np.uint64(nbytes))[0]])
            raise at.error(f"misaligned access of {nbytes} bytes at {worst:#x}")
        if space == "generic":
            windows = address >> np.uint64(56)
            window = int(windows[0])
            if (windows != window).any():
                return self._resolve_mixed(windows, address, thread, nbytes, dtype, kind, at)
            space = {0: "global", 1: "generic shared", 2: "local"}.get(window, "global")
        if space in ("global", "const", "param"):
            return self.global_memory.resolve(address, nbytes, dtype, kind, at)
        offset = (address & _OFFSET).astype(np.int64)
        if space == "local":
            if (offset + nbytes > self.local_bytes).any():
                raise at.error("local access out of bounds")
            index = (thread * self.local_bytes + offset) // dtype.itemsize
            return [(self.local.view(dtype)[0], index, None)]
        block = self.block[lanes]
        if space == "generic shared":
            block = generic_owner(address)
        elif space == "shared::cluster":
            block = self.owner(address, lanes)
        elif (address > _OFFSET).any():
            raise at.error("shared access out of bounds")
        at_byte = self.shared.access(block, offset, thread, nbytes, kind, at)
        return [(self.shared.region.view(dtype)[0], at_byte // dtype.itemsize, None)]

    def _resolve_mixed(
        self,
        windows: np.ndarray,
        address: np.ndarray,
        thread: np.ndarray,
        nbytes: int,
        dtype: np.dtype,
        kind: str,
        at: Instruction,
    ) -> list[Group]:
        groups: list[Group] = []
        for window in np.unique(windows):
            chosen = np.flatnonzero(windows == window)
            inner = self.resolve(
                "generic", address[chosen], thread[chosen], nbytes, dtype, kind, at
            )
            groups += [(v, i, chosen if sub is None else chosen[sub]) for v, i, sub in inner]
        return groups

    def shared_to_generic(self, offset: np.ndarray, lanes: Lanes) -> np.ndarray:
        block = self.owner(offset, lanes).astype(np.uint64)
        window = np.uint64(SHARED_WINDOW) | (block << np.uint64(24))
        return window | (offset & _OFFSET)

    def owner(self, address: np.ndarray, lanes: Lanes) -> np.ndarray:
        """Returns the block in whose shared memory an address of the cluster's window lies."""
        rank = (address >> np.uint64(24)).astype(np.int64)  # 0 is the block's own memory
        block = self.block[lanes]
        return np.where(rank > 0, block - block % self.shape.cluster + rank - 1, block)

    def generic_to_shared(self, address: np.ndarray, lanes: Lanes) -> np.ndarray:
        own = self.block[lanes]
        block = generic_owner(address)
        rank = np.where(block == own, 0, block % self.shape.cluster + 1).astype(np.uint64)
        return (rank << np.uint64(24)) | (address & _OFFSET)

    def function_frame(self, name: str) -> Frame | None:
        return next((f for f in self.frames if f.function.name == name), None)


def generic_owner(address: np.ndarray) -> np.ndarray:
    """Returns the block in whose shared memory a generic address lies."""
    return ((address >> np.uint64(24)) & np.uint64(0xFFFFFFFF)).astype(np.int64)


def lane_matrix(thread: np.ndarray, value: np.ndarray, threads: int) -> np.ndarray:
    """Returns the values of the given threads as (all warps, 32), zero elsewhere."""
    full = np.zeros(threads, value.dtype)
    full[thread] = value
    return full.reshape(-1, 32)


def unsupported(at: Instruction) -> PtxError:
    return at.error("unsupported instruction")
