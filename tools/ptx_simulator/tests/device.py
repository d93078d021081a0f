"""A device that runs the PTX of the CUDA kernels where the library's host code launches them."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

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
    "signs_pack": ("signs", "zeros", "scales", "flags"),
    "signs_unpack": ("c",),
    "entries_pack": ("values", "indices", "flags"),
}
GARBAGE = 0xA5


class Machine(NamedTuple):
    """What the host code sees of a device."""

    multiprocessors: int = 16
    shared: int = 227 << 10  # bytes of a block
    clusters: bool = False  # the environment asks for them
    most_blocks: int | None = None  # of a grid whose blocks are independent, and take turns


REAL = Machine()


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

    def run(self) -> None:
        kernel = library.kernels()[self.kernel]
        self.counters = launch(
            kernel, self.grid, self.block, self.arguments, self.buffers, **self.how
        )


class Device(TorchDispatchMode):
    """Ops on CPU tensors run on PTX. Like a stream it runs the launches of an op when the op has
    returned and all its tensors are known: kernels may touch these and a workspace, and write the
    outputs and what the op's schema says is written."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine, self.launches = machine, list[Launch]()
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
        grid = tuple(given.grid)
        most = self.machine.most_blocks
        if most and not given.cooperative and given.cluster == 1:
            grid = (min(grid[0], most), *grid[1:])
        self._waiting.append(
            Launch(
                given.kernel,
                grid,
                tuple(given.block),
                [ctypes.string_at(a.data, a.bytes) for a in given.arguments[: given.n_arguments]],
                {
                    "cluster": given.cluster,
                    "dynamic_shared": given.dynamic_shared,
                    "cooperative": given.cooperative,
                },
            )
        )

    def allocate(self, nbytes: int) -> int:
        memory = self._workspace["workspace"] = device_array(nbytes, np.uint8)
        memory[:] = GARBAGE
        return memory.ctypes.data


@contextlib.contextmanager
def ptx_device(machine: Machine = REAL) -> Iterator[Device]:
    """CPU tensors are computed by the PTX of the CUDA kernels."""
    library.kernels()
    device = Device(machine)
    functions = _RECORD(device.record), _ALLOCATE(device.allocate)
    wish = {"EFFEBM_CUDA_CLUSTERS": str(int(machine.clusters))}
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, wish))
        stack.enter_context(_set("effebm_emulator_device", _Properties(*machine[:2])))
        stack.enter_context(_set("effebm_emulator_diversion", _Diversion(*functions)))
        stack.enter_context(native.emulated_kernels())
        yield stack.enter_context(device)


def on_device(t: Tensor, shift: int = 0) -> Tensor:
    """Returns a copy in memory like that of a device: aligned but for ``shift`` elements, and with
    room around it."""
    memory = torch.from_numpy(device_array(t.numel() + shift, array_of(t).dtype))
    return memory[shift:].view(t.dtype).view(t.shape).copy_(t)


def array_of(t: Tensor) -> np.ndarray:
    """Returns a tensor's memory as an array, and 16-bit floats as their bits."""
    return t.view(torch.int16).numpy() if t.element_size() == 2 else t.numpy()


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
def _set(function: str, value: ctypes.Structure) -> Iterator[None]:
    """Sets what a function of the library points to, until the end."""
    get = getattr(native.library(), function)
    get.restype = ctypes.POINTER(type(value))
    there, before = get(), type(value)()
    size = ctypes.sizeof(value)
    ctypes.memmove(ctypes.byref(before), there, size)
    ctypes.memmove(there, ctypes.byref(value), size)
    try:
        yield
    finally:
        ctypes.memmove(there, ctypes.byref(before), size)


class _Properties(ctypes.Structure):
    """DeviceProperties of tools/cuda_emulator/runtime.h."""

    _fields_ = (("multiprocessors", ctypes.c_int), ("shared", ctypes.c_size_t))


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
