"""What ptxas says that a kernel takes, and what that leaves room for."""

from __future__ import annotations

import dataclasses
import re

# An SM of compute capability 8.0 and 9.0.
_REGISTERS = 65536
_REGISTERS_PER_GRANT = 256  # a warp gets a multiple of it
_WARPS = 64
_BLOCKS = 32

_PTXAS_KERNEL = re.compile(r"Compiling entry function '(\S+)' for")
_PTXAS_PROPERTIES = re.compile(r"Function properties for (\S+)")
_PTXAS_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill")
_PTXAS_USED = re.compile(r"Used (\d+) registers")
_PTXAS_SHARED = re.compile(r"(\d+) bytes smem")
_USAGE = re.compile(r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+)")
_THREADS = re.compile(
    r"^\.nv\.info\.(\S+)$|EIATTR_(?:MAX_THREADS|REQNTID)\s+Format:\s*EIFMT_SVAL"
    r"\s+Value:\s*(0x\w+) (0x\w+) (0x\w+)",
    re.MULTILINE,
)


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a thread or a block of a kernel takes; spills are None where only an object is there,
    which does not tell them from other uses of the stack."""

    registers: int
    stack: int  # bytes
    shared: int  # bytes, those that the launch adds not counted
    spill_stores: int | None = None  # bytes
    spill_loads: int | None = None  # bytes

    def threads_per_sm(self, block: int) -> int:
        """The threads of blocks of this size that the registers of an SM are enough for."""
        warps = -(-block // 32)
        grants = -(-self.registers * 32 // _REGISTERS_PER_GRANT)
        most = min(_WARPS, _REGISTERS // (max(grants, 1) * _REGISTERS_PER_GRANT))
        return min(_BLOCKS, most // warps) * block


def parse_ptxas(log: str) -> dict[str, Resources]:
    """The kernels in the output of ``ptxas -v``, by their mangled names."""
    found: dict[str, Resources] = {}
    kernel, spills = "", (0, 0, 0)
    own = False  # whether the properties that follow are the kernel's, not a function's it calls
    for line in log.splitlines():
        if match := _PTXAS_KERNEL.search(line):
            kernel = match[1]
        elif match := _PTXAS_PROPERTIES.search(line):
            own = match[1] == kernel
        elif own and (match := _PTXAS_SPILLS.search(line)):
            stack, stores, loads = map(int, match.groups())
            spills = (stack, stores, loads)
        elif kernel and (match := _PTXAS_USED.search(line)):
            shared = _PTXAS_SHARED.search(line)
            found[kernel] = Resources(
                int(match[1]), spills[0], int(shared[1]) if shared else 0, *spills[1:]
            )
    return found


def parse_usage(text: str) -> dict[str, Resources]:
    """The kernels in the output of ``cuobjdump --dump-resource-usage``."""
    return {name: Resources(*map(int, figures)) for name, *figures in _USAGE.findall(text)}


def parse_launch_bounds(text: str) -> dict[str, int]:
    """The most threads of a block, of kernels that bound them: ``cuobjdump --dump-elf``."""
    found: dict[str, int] = {}
    kernel = ""
    for match in _THREADS.finditer(text):
        if match[1]:
            kernel = match[1]
        else:
            x, y, z = (int(size, 16) for size in match.groups()[1:])
            found[kernel] = x * y * z
    return found
