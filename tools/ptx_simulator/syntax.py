"""Operands, instructions, variables and functions of a PTX module, as the parser makes them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

DTYPES: dict[str, np.dtype] = {
    name: np.dtype(kind)
    for names, kind in (
        ("u8 b8", np.uint8),
        ("u16 b16 bf16", np.uint16),
        ("u32 b32 f16x2 bf16x2", np.uint32),
        ("u64 b64", np.uint64),
        ("s8", np.int8),
        ("s16", np.int16),
        ("s32", np.int32),
        ("s64", np.int64),
        ("f16", np.float16),
        ("f32", np.float32),
        ("f64", np.float64),
        ("pred", np.bool_),
    )
    for name in names.split()
}
UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
SIGNED = {size: np.dtype(f"i{size}") for size in (1, 2, 4, 8)}


class PtxError(RuntimeError):
    """A fault of the simulated program, or something the simulator does not know."""


@dataclass(frozen=True)
class Register:
    name: str


@dataclass(frozen=True)
class Immediate:
    bits: int
    kind: str  # "int", "f32" or "f64": how the bits are meant


@dataclass(frozen=True)
class Special:
    name: str


@dataclass(frozen=True)
class Symbol:
    name: str
    offset: int = 0


@dataclass(frozen=True)
class Address:
    base: Register | Symbol | Immediate
    offset: int


@dataclass(frozen=True)
class Vector:
    """A list of operands: {a, b}, or the parentheses of a call."""

    items: tuple[Operand, ...]


@dataclass(frozen=True)
class Pair:
    """The pair d|p of two destinations."""

    first: Operand
    second: Operand


@dataclass(frozen=True)
class Negated:
    operand: Operand


Operand = Register | Immediate | Special | Symbol | Address | Vector | Pair | Negated


@dataclass(frozen=True)
class Instruction:
    opcode: str
    modifiers: tuple[str, ...]
    operands: tuple[Operand, ...]
    predicate: Register | None
    negated: bool
    line: int
    text: str

    @property
    def type(self) -> str:
        return self.modifiers[-1] if self.modifiers else ""

    def error(self, message: str) -> PtxError:
        return PtxError(f"line {self.line}: {message}: {self.text}")


@dataclass(frozen=True)
class Variable:
    space: str  # param, shared, local, global or const
    name: str
    type: str
    align: int
    count: int | None  # None: an extern array without a size
    initial: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        return DTYPES[self.type].itemsize * (self.count or 0)


@dataclass
class Function:
    name: str
    is_entry: bool
    parameters: list[Variable] = field(default_factory=list)
    returns: list[Variable] = field(default_factory=list)
    variables: list[Variable] = field(default_factory=list)
    registers: dict[str, str] = field(default_factory=dict)
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    branch_tables: dict[str, list[str]] = field(default_factory=dict)
    cluster: int = 1

    @functools.cached_property
    def registers_read(self) -> set[Register]:
        read: set[Register] = set()
        for at in self.code:
            # Stores, atomics without a result and the like read all their operands.
            first = 0 if at.opcode in ("st", "red", "bar", "barrier", "call") else 1
            for operand in (*at.operands[first:], at.predicate):
                read.update(_registers(operand))
        return read


def _registers(operand: Operand | None) -> Iterator[Register]:
    if isinstance(operand, Register):
        yield operand
    elif isinstance(operand, Address):
        yield from _registers(operand.base)
    elif isinstance(operand, Negated):
        yield from _registers(operand.operand)
    elif isinstance(operand, Vector):
        for item in operand.items:
            yield from _registers(item)


def lay_out(variables: list[Variable], start: int = 0, gap: int = 0) -> tuple[dict[str, int], int]:
    """Returns the offsets of variables one after the other, aligned, and the end of the last."""
    offsets: dict[str, int] = {}
    for variable in variables:
        start = -(-start // variable.align) * variable.align
        offsets[variable.name] = start
        start += variable.nbytes + gap
    return offsets, start
