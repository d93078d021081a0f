"""Loading PTX, finding kernels, and launching them."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .calls import call_parts
from .counters import Counters
from .machine import Machine, Shape
from .memory import Buffer, GlobalMemory, device_array, initialised
from .parser import ParsedModule, parse
from .scheduler import Scheduler
from .shared import SharedMemory
from .syntax import DTYPES, Address, Function, Operand, PtxError, Symbol, Variable, lay_out

_SHARED_GAP = 16  # invalid bytes between shared variables, so that overruns are seen
_MAX_SHARED = 227 * 1024
_MAX_THREADS = 1024
_WORKSPACE_WORDS = 2  # for cooperative_groups: its size, and the barrier of the grid

Argument = bytes | int | float | np.generic | np.ndarray | ctypes.Structure | None
Extent = int | tuple[int, ...]


@dataclass(frozen=True)
class Kernel:
    module: Module
    function: Function

    @property
    def name(self) -> str:
        return self.function.name

    @property
    def demangled(self) -> str:
        return self.module.demangled[self.name]


class Module:
    """Kernels by mangled name; .global variables keep their contents between launches."""

    def __init__(self, parsed: ParsedModule) -> None:
        self.parsed = parsed
        entries = [f for f in parsed.functions.values() if f.is_entry]
        self.kernels = {f.name: Kernel(self, f) for f in entries}
        self.variables: dict[str, np.ndarray] = {}
        for variable in parsed.variables.values():
            if variable.space in ("global", "const"):
                self.variables[variable.name] = initialised(variable)

    @functools.cached_property
    def demangled(self) -> dict[str, str]:
        names = list(self.kernels)
        tool = shutil.which("c++filt")
        if tool is None or not names:
            return {name: name for name in names}
        result = subprocess.run(
            [tool], input="\n".join(names), capture_output=True, text=True, check=True
        )
        return dict(zip(names, result.stdout.splitlines(), strict=True))

    def find(self, *parts: str) -> Kernel:
        """Returns the one kernel whose demangled (or mangled) name contains all parts."""
        fitting = [
            kernel
            for name, kernel in self.kernels.items()
            if all(part in kernel.demangled or part in name for part in parts)
        ]
        if len(fitting) != 1:
            listed = "\n  ".join(k.demangled for k in fitting or self.kernels.values())
            raise PtxError(f"{len(fitting)} kernels fit {parts}:\n  {listed}")
        return fitting[0]


def load(ptx_text: str) -> Module:
    return Module(parse(ptx_text))


def launch(
    kernel: Kernel,
    grid: Extent,
    block: Extent,
    arguments: Sequence[Argument],
    buffers: Sequence[np.ndarray] | Mapping[str, np.ndarray] = (),
    *,
    cluster: int | None = None,
    dynamic_shared: int = 0,
    cooperative: bool = False,
    max_steps: int = 10_000_000,
) -> Counters:
    """Runs a kernel to its end; raises PtxError at the first fault.

    An array among the arguments passes its address and is a buffer too. Buffers are accessed in
    place. `cluster` blocks along x form a cluster, by default as many as the kernel was compiled
    for. Only in a `cooperative` launch may a kernel synchronise its grid.
    """
    shape = Shape(_extent(grid), _extent(block), cluster or kernel.function.cluster)
    if not 0 < shape.block_threads <= _MAX_THREADS or shape.blocks < 1:
        raise ValueError(f"impossible launch of {shape.blocks} blocks of {shape.block}")
    if shape.grid[0] % shape.cluster:
        raise ValueError(f"grid {shape.grid} is not a multiple of the cluster size {shape.cluster}")
    functions = _reachable(kernel)
    workspace = device_array(_WORKSPACE_WORDS, np.uint32) if cooperative else None
    memory, symbols = _global_memory(kernel, arguments, buffers, workspace)
    shared, symbols_shared, end = _shared_memory(kernel, functions, shape, dynamic_shared)
    symbols.update(symbols_shared)
    workspace_address = workspace.ctypes.data if workspace is not None else 0
    machine = Machine(
        functions, shape, symbols, memory[0], shared, dynamic_shared, workspace_address
    )
    scheduler = Scheduler(machine, max_steps)
    scheduler.run()
    counters = Counters(
        buffers=[buffer.traffic for buffer in memory[1]],
        shared_read_bytes=shared.read_bytes,
        shared_written_bytes=shared.written_bytes,
        shared_atomics=shared.atomics,
        shared_bytes_per_block=end,
        local_bytes_per_thread=machine.local_bytes,
    )
    scheduler.count(counters)
    return counters


def _extent(extent: Extent) -> tuple[int, int, int]:
    values = (extent,) if isinstance(extent, int) else tuple(extent)
    x, y, z = (int(v) for v in (*values, 1, 1, 1)[:3])
    return x, y, z


def _reachable(kernel: Kernel) -> list[Function]:
    """Returns the functions that a kernel calls, then the kernel."""
    known = kernel.module.parsed.functions
    order: list[Function] = []

    def visit(function: Function) -> None:
        for at in function.code:
            callee = known.get(call_parts(at)[0] or "") if at.opcode == "call" else None
            if callee is not None and callee not in order and callee is not function:
                visit(callee)
        order.append(function)

    visit(kernel.function)
    return order


def _global_memory(
    kernel: Kernel,
    arguments: Sequence[Argument],
    buffers: Sequence[np.ndarray] | Mapping[str, np.ndarray],
    workspace: np.ndarray | None,
) -> tuple[tuple[GlobalMemory, list[Buffer]], dict[str, int]]:
    if isinstance(buffers, Mapping):
        named = dict(buffers)
    else:
        named = {f"buffer {i}": array for i, array in enumerate(buffers)}
    known = {array.ctypes.data for array in named.values()}
    for i, argument in enumerate(arguments):
        if isinstance(argument, np.ndarray) and argument.ctypes.data not in known:
            named[f"argument {i}"] = argument
            known.add(argument.ctypes.data)
    own = [Buffer.of(array, name) for name, array in named.items()]
    parameters = kernel.function.parameters
    if len(arguments) != len(parameters):
        raise ValueError(
            f"{kernel.demangled} takes {len(parameters)} arguments, not {len(arguments)}"
        )
    offsets, size = lay_out(parameters)
    block = device_array(max(size, 1), np.uint8)
    for parameter, argument in zip(parameters, arguments, strict=True):
        data = _argument_bytes(parameter, argument)
        start = offsets[parameter.name]
        block[start : start + len(data)] = np.frombuffer(data, np.uint8)
    internal = [Buffer.of(block, "the kernel's parameters")]
    internal[0].writable = False
    if workspace is not None:
        internal.append(Buffer.of(workspace, "the grid's workspace"))
    symbols = {name: block.ctypes.data + offset for name, offset in offsets.items()}
    for name, array in kernel.module.variables.items():
        symbols[name] = array.ctypes.data
        internal.append(Buffer.of(array, name))
    return (GlobalMemory([b for b in own if len(b.data)] + internal), own), symbols


def _argument_bytes(parameter: Variable, argument: Argument) -> bytes:
    if isinstance(argument, np.ndarray) and argument.ndim:
        argument = argument.ctypes.data
    elif argument is None:
        argument = 0
    if isinstance(argument, (int, float)) and not isinstance(argument, np.generic):
        argument = DTYPES[parameter.type].type(argument)
    data = argument.tobytes() if isinstance(argument, (np.generic, np.ndarray)) else bytes(argument)
    if len(data) != parameter.nbytes:
        raise ValueError(
            f"parameter {parameter.name} has {parameter.nbytes} bytes, its argument {len(data)}"
        )
    return data


def _mentioned(operands: tuple[Operand, ...]) -> set[str]:
    names: set[str] = set()
    for operand in operands:
        base = operand.base if isinstance(operand, Address) else operand
        if isinstance(base, Symbol):
            names.add(base.name)
    return names


def _shared_memory(
    kernel: Kernel, functions: list[Function], shape: Shape, dynamic: int
) -> tuple[SharedMemory, dict[str, int], int]:
    mentioned = {n for f in functions for at in f.code for n in _mentioned(at.operands)}
    variables = [v for f in functions for v in f.variables if v.space == "shared"]
    for variable in kernel.module.parsed.variables.values():
        if variable.space == "shared" and variable.name in mentioned:
            variables.append(variable)
    fixed = [v for v in variables if v.count is not None]
    offsets, end = lay_out(fixed, _SHARED_GAP, _SHARED_GAP)
    ranges = [(offsets[v.name], offsets[v.name] + v.nbytes) for v in fixed]
    extern = [v for v in variables if v.count is None]  # all of them begin at the same place
    if extern:
        align = max(16, *(v.align for v in extern))
        end = -(-end // align) * align
        offsets.update((v.name, end) for v in extern)
        ranges.append((end, end + dynamic))
        end += dynamic + _SHARED_GAP
    used = sum(high - low for low, high in ranges)
    if used > _MAX_SHARED:
        raise PtxError(f"{used} bytes of shared memory are more than {_MAX_SHARED}")
    widths = [
        DTYPES[at.type].itemsize
        for f in functions
        for at in f.code
        if at.opcode in ("ld", "st", "atom", "red")
        and at.type in DTYPES
        and not {"param", "global", "local", "const"} & set(at.modifiers)
    ]
    granule = min([4, *widths])
    memory = SharedMemory(shape.blocks, ranges, end, granule, shape.blocks * shape.warps_per_block)
    return memory, offsets, used
