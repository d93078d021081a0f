"""Global memory: the caller's arrays under their own addresses, and the module's tables."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .counters import Traffic
from .syntax import DTYPES, Instruction, PtxError, Variable

ALIGNMENT = 256  # as cudaMalloc gives it
_GUARD = 4096


def device_array(shape: int | tuple[int, ...], dtype: np.typing.DTypeLike) -> np.ndarray:
    """Returns zeros aligned like cudaMalloc, amid room so that overruns meet no neighbour."""
    dtype = np.dtype(dtype)
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = np.zeros(nbytes + ALIGNMENT + 2 * _GUARD, np.uint8)
    start = _GUARD + -(memory.ctypes.data + _GUARD) % ALIGNMENT
    return memory[start : start + nbytes].view(dtype).reshape(shape)


def device_copy(array: np.ndarray) -> np.ndarray:
    """Returns a copy aligned like cudaMalloc."""
    copy = device_array(array.shape, array.dtype)
    copy[...] = array
    return copy


def initialised(variable: Variable) -> np.ndarray:
    """Returns the memory of a .global or .const variable."""
    array = device_array(max(variable.count or 0, 1), DTYPES[variable.type])
    flat = array.view(np.dtype(f"u{array.dtype.itemsize}"))
    for i, text in enumerate(variable.initial):
        if text[:2].lower() in ("0f", "0d"):
            flat[i] = int(text[2:], 16)
            continue
        try:
            flat[i] = int(text.rstrip("U"), 0) % (1 << 8 * array.dtype.itemsize)
        except ValueError:
            raise PtxError(f"{variable.name}: the initial value {text} is not supported") from None
    return array


@dataclass
class Region:
    """Bytes that can be seen as elements of any type."""

    data: np.ndarray
    base: int = 0  # address of the first byte, as far as alignment is concerned
    _views: dict[np.dtype, tuple[np.ndarray, int]] = field(default_factory=dict)

    def view(self, dtype: np.dtype) -> tuple[np.ndarray, int]:
        """Returns elements of the type, and how many bytes lie before the first aligned one."""
        if dtype not in self._views:
            skip = -self.base % dtype.itemsize
            count = max(len(self.data) - skip, 0) // dtype.itemsize
            self._views[dtype] = self.data[skip : skip + count * dtype.itemsize].view(dtype), skip
        return self._views[dtype]


@dataclass
class Buffer(Region):
    traffic: Traffic = field(default_factory=lambda: Traffic(""))
    writable: bool = True

    @classmethod
    def of(cls, array: np.ndarray, name: str) -> Buffer:
        if not array.flags.c_contiguous:
            raise ValueError(f"buffer {name} is not contiguous")
        data = array.reshape(-1).view(np.uint8)
        address = array.__array_interface__["data"][0]
        return cls(data, address, traffic=Traffic(name), writable=array.flags.writeable)

    @property
    def end(self) -> int:
        return self.base + len(self.data)


# A group of an access: elements, the index of each lane's element, and which lanes (None: all).
Group = tuple[np.ndarray, np.ndarray, np.ndarray | None]


class GlobalMemory:
    def __init__(self, buffers: list[Buffer]) -> None:
        self.buffers = sorted(buffers, key=lambda b: b.base)
        self._bases = np.array([b.base for b in self.buffers], np.uint64)

    def resolve(
        self, address: np.ndarray, nbytes: int, dtype: np.dtype, kind: str, at: Instruction
    ) -> list[Group]:
        """Finds the buffers of an access of nbytes per lane; kind is r, w, R, W or a (atomic)."""
        low = int(address.min())
        which = int(np.searchsorted(self._bases, np.uint64(low), side="right")) - 1
        if which >= 0 and int(address.max()) + nbytes <= self.buffers[which].end:
            return [self._group(which, address, None, nbytes, dtype, kind, at)]
        owners = np.searchsorted(self._bases, address, side="right") - 1
        groups = []
        for owner in np.unique(owners):
            lanes = np.flatnonzero(owners == owner)
            self._check(int(owner), address[lanes], nbytes, at)
            groups.append(self._group(int(owner), address[lanes], lanes, nbytes, dtype, kind, at))
        return groups

    def _check(self, owner: int, address: np.ndarray, nbytes: int, at: Instruction) -> None:
        worst = int(address.max())
        if owner < 0:
            raise at.error(f"global access to {int(address.min()):#x}, before every buffer")
        buffer = self.buffers[owner]
        if worst + nbytes > buffer.end:
            name, past = buffer.traffic.name, worst + nbytes - buffer.end
            raise at.error(
                f"global access out of bounds: {past} bytes past the end of buffer {name}"
                f" ({len(buffer.data)} bytes)"
            )

    def _group(
        self,
        which: int,
        address: np.ndarray,
        lanes: np.ndarray | None,
        nbytes: int,
        dtype: np.dtype,
        kind: str,
        at: Instruction,
    ) -> Group:
        buffer = self.buffers[which]
        traffic, count, kind = buffer.traffic, len(address), kind.lower()
        if kind != "r" and not buffer.writable:
            raise at.error(f"write to the read-only buffer {traffic.name}")
        if kind == "r":
            traffic.read_bytes += count * nbytes
            traffic.load_widths[nbytes] += count
        elif kind == "w":
            traffic.written_bytes += count * nbytes
            traffic.store_widths[nbytes] += count
        else:
            traffic.atomics += count
            traffic.atomic_bytes += count * nbytes
        view, skip = buffer.view(dtype)
        index = (address - np.uint64(buffer.base + skip)).astype(np.int64) // dtype.itemsize
        return view, index, lanes
