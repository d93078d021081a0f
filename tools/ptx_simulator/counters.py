"""The counts of a launch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .syntax import Instruction

_MOVES = {"mov", "cvta", "mapa", "getctarank", "isspacep"}
_CONTROL = {"bra", "brx", "ret", "exit", "call", "trap"}
_WARP = {"shfl", "vote", "match", "redux", "activemask", "elect"}
_BARRIERS = {"bar", "barrier", "fence", "membar"}
_COMPARE = {"setp", "set", "selp", "slct"}


@dataclass
class Traffic:
    """Accesses to one buffer: bytes, and the number of thread accesses of each width in bytes."""

    name: str
    read_bytes: int = 0
    written_bytes: int = 0
    load_widths: Counter[int] = field(default_factory=Counter)
    store_widths: Counter[int] = field(default_factory=Counter)
    atomics: int = 0
    atomic_bytes: int = 0  # once per atomic, though it reads and writes; not in the bytes above


@dataclass
class Counters:
    """Threads are counted, not warps: an instruction of a full warp counts 32."""

    instructions: Counter[str] = field(default_factory=Counter)  # by class: float32, integer, ...
    opcodes: Counter[str] = field(default_factory=Counter)  # by full opcode: fma.rn.f32, ...
    buffers: list[Traffic] = field(default_factory=list)  # in the order of the buffers
    shared_read_bytes: int = 0
    shared_written_bytes: int = 0
    shared_atomics: int = 0
    shared_bytes_per_block: int = 0  # static and dynamic
    local_bytes_per_thread: int = 0
    barriers: int = 0  # completed block barriers, summed over the blocks
    cluster_barriers: int = 0  # summed over the clusters
    warp_barriers: int = 0  # summed over the warps
    steps: int = 0  # instructions issued by the simulator, each for many threads

    @property
    def global_read_bytes(self) -> int:
        return sum(b.read_bytes for b in self.buffers)

    @property
    def global_written_bytes(self) -> int:
        return sum(b.written_bytes for b in self.buffers)

    @property
    def global_atomics(self) -> int:
        return sum(b.atomics for b in self.buffers)

    @property
    def global_atomic_bytes(self) -> int:
        return sum(b.atomic_bytes for b in self.buffers)

    @property
    def global_load_widths(self) -> Counter[int]:
        return sum((b.load_widths for b in self.buffers), Counter())

    @property
    def global_store_widths(self) -> Counter[int]:
        return sum((b.store_widths for b in self.buffers), Counter())

    @property
    def executed(self) -> int:
        return sum(self.instructions.values())

    def buffer(self, name: str) -> Traffic:
        return next(b for b in self.buffers if b.name == name)


def instruction_class(instruction: Instruction) -> str:
    opcode, kind = instruction.opcode, instruction.type
    for name, opcodes in (
        ("move", _MOVES),
        ("control", _CONTROL),
        ("warp", _WARP),
        ("barrier", _BARRIERS),
        ("compare", _COMPARE),
    ):
        if opcode in opcodes:
            return name
    if opcode in ("ld", "ldu"):
        return "load"
    if opcode == "st":
        return "store"
    if opcode in ("atom", "red"):
        return "atomic"
    if opcode == "cvt":
        return "convert"
    return {"f32": "float32", "f64": "float64"}.get(kind, "half" if "f16" in kind else "integer")
