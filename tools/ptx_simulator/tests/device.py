"""A device that runs the PTX of the CUDA kernels where the library's host code launches them."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import library
import native
import numpy as np
import torch
from ptx_simulator import Counters, device_array, launch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# What the ops call their outputs.
OUTPUTS = {
    "compress": ("out",),
    "langevin_step": ("out",),
    "langevin_transition": ("out", "drift", "row_sums"),
    "drift": ("drift", "row_sums"),
    "perturbed_pair": ("out", "noise_dot"),
    "uniforms": ("out",),
    "log_ratio": ("out",),
    "metropolis_": ("energy_out", "probability"),
    "signs_pack": ("signs", "zeros", "scales", "flags"),
    "signs_unpack": ("c",),
    "entries_pack": ("values", "indices", "flags"),
}
GARBAGE = 0xA5


# The kernels that walk over their work with a stride, and so take any number of blocks.
WALKING = {
    "check_offsets", "sum_windows", "join_windows", "join_groups", "find_scales", "pack_signs",
    "unpack_signs", "pack_entries",
}  # fmt: skip


@dataclasses.dataclass
class Launch:
    """A launch of the host code, and what it cost."""

    address: int  # of the host code's function
    grid: tuple[int, ...]
    block: tuple[int, ...]
    arguments: list[bytes]
    how: dict[str, Any]
    buffers: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    counters: Counters = dataclasses.field(default_factory=Counters)

    @property
    def kernel(self) -> str:
        """The kernel's demangled name."""
        return library.names()[self.address]

    @property
    def function(self) -> str:
        """The kernel's name without namespaces and template arguments."""
        return re.sub(r"<.*", "", self.kernel.split("(")[0]).split("::")[-1].split(" ")[-1]

    def run(self) -> None:
        kernel = library.kernels()[self.kernel]
        self.counters = launch(
            kernel, self.grid, self.block, self.arguments, self.buffers, **self.how
        )


class Device(TorchDispatchMode):
    """Ops on CPU tensors run on PTX. Like a stream it runs the launches of an op when the op has
    returned and all its tensors are known: kernels may touch these and a workspace, and write the
    outputs and what the op's schema says is written."""

    def __init__(self, most_blocks: int | None) -> None:
        super().__init__()
        self.most_blocks, self.launches = most_blocks, list[Launch]()
        self._waiting, self._workspace = list[Launch](), dict[str, np.ndarray]()

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = op(*args, **(kwargs or {}))
        waiting, self._waiting = self._waiting, []
        workspace, self._workspace = self._workspace, {}
        buffers = _buffers(op, args, kwargs or {}, result) if waiting else {}
        for one in waiting:
            one.buffers = buffers | workspace
            self.launches.append(one)
            one.run()
        return result

    def record(self, launched: Any) -> None:
        given = launched.contents
        one = Launch(
            given.kernel,
            tuple(given.grid),
            tuple(given.block),
            [ctypes.string_at(a.data, a.bytes) for a in given.arguments[: given.n_arguments]],
            {
                "cluster": given.cluster,
                "dynamic_shared": given.dynamic_shared,
                "cooperative": given.cooperative,
            },
        )
        if self.most_blocks and one.function in WALKING:
            one.grid = (min(one.grid[0], self.most_blocks), *one.grid[1:])
        self._waiting.append(one)

    def allocate(self, nbytes: int) -> int:
        memory = self._workspace["workspace"] = device_array(nbytes, np.uint8)
        memory[:] = GARBAGE
        return memory.ctypes.data


@contextlib.contextmanager
def ptx_device(most_blocks: int | None = None) -> Iterator[Device]:
    """CPU tensors are computed by the PTX of the CUDA kernels. ``most_blocks``: those of the grids
    of kernels that walk."""
    library.kernels()
    device = Device(most_blocks)
    functions = _RECORD(device.record), _ALLOCATE(device.allocate)
    with _diverted(_Diversion(*functions)), native.emulated_kernels(), device:
        yield device


def on_device(t: Tensor, shift: int = 0) -> Tensor:
    """Returns a copy in memory like that of a device: aligned but for ``shift`` elements, and with
    room around it."""
    memory = torch.from_numpy(device_array(t.numel() + shift, array_of(t).dtype))
    return memory[shift:].view(t.dtype).view(t.shape).copy_(t)


def array_of(t: Tensor) -> np.ndarray:
    """Returns a tensor's memory as an array, and floats of 8 and 16 bits as their bits."""
    integers = {1: torch.uint8, 2: torch.int16}.get(t.element_size())
    return t.numpy() if integers is None else t.view(integers).numpy()


def _buffers(
    op: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
) -> dict[str, np.ndarray]:
    buffers = {}
    given = {a.name: value for a, value in zip(op._schema.arguments, args, strict=False)} | kwargs
    for argument in op._schema.arguments:
        value = given.get(argument.name)
        if isinstance(value, Tensor):
            array = buffers[argument.name] = array_of(value)
            if not (argument.alias_info and argument.alias_info.is_write):
                array.flags.writeable = False
    made = (result,) if isinstance(result, Tensor) else result or ()
    for name, value in zip(OUTPUTS.get(op._opname, ()), made, strict=True):
        buffers[name] = array_of(value)
        if name != "flags":  # the op sets them to zero itself
            buffers[name].view(np.uint8)[:] = GARBAGE
    return buffers


@contextlib.contextmanager
def _diverted(to: _Diversion) -> Iterator[None]:
    """Launches go there, until the end."""
    get = native.library().effebm_emulator_diversion
    get.restype = ctypes.POINTER(_Diversion)
    there, before, size = get(), _Diversion(), ctypes.sizeof(_Diversion)
    ctypes.memmove(ctypes.byref(before), there, size)
    ctypes.memmove(there, ctypes.byref(to), size)
    try:
        yield
    finally:
        ctypes.memmove(there, ctypes.byref(before), size)


class _Argument(ctypes.Structure):
    """Argument of runtime.h."""

    _fields_ = (("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t))


class _DivertedLaunch(ctypes.Structure):
    """DivertedLaunch of runtime.h."""

    _fields_ = (
        ("kernel", ctypes.c_void_p),
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("dynamic_shared", ctypes.c_size_t),
        ("cluster", ctypes.c_uint),
        ("cooperative", ctypes.c_bool),
        ("n_arguments", ctypes.c_size_t),
        ("arguments", ctypes.POINTER(_Argument)),
    )


_RECORD = ctypes.CFUNCTYPE(None, ctypes.POINTER(_DivertedLaunch))
_ALLOCATE = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int64)


class _Diversion(ctypes.Structure):
    """Diversion of runtime.h."""

    _fields_ = (("launch", _RECORD), ("allocate", _ALLOCATE))
