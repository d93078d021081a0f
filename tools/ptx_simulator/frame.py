"""The registers and local names of one function, an array element per thread, and its operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .syntax import (
    DTYPES,
    UNSIGNED,
    Address,
    Function,
    Immediate,
    Instruction,
    Negated,
    Operand,
    Register,
    Special,
    Symbol,
    Vector,
)

if TYPE_CHECKING:
    from .machine import Machine

Lanes = np.ndarray | slice  # which threads: their numbers, or all of them
Reader = Callable[[Lanes], np.ndarray]
Writer = Callable[[Lanes, np.ndarray], None]


class Frame:
    """A function cannot be active twice in a thread, so every function has one set of registers."""

    def __init__(
        self, machine: Machine, function: Function, base_pc: int, local_start: int
    ) -> None:
        self.machine, self.function, self.base_pc = machine, function, base_pc
        count = machine.threads
        self.registers: dict[str, np.ndarray] = {}
        for name, kind in function.registers.items():
            size = DTYPES[kind].itemsize
            dtype = DTYPES[kind] if kind == "pred" else UNSIGNED[size]
            self.registers[name] = np.zeros(count, dtype)
        # Parameters of calls, per thread; a kernel's parameters lie in constant memory instead.
        self.parameters: dict[str, np.ndarray] = {}
        own = [v for v in function.variables if v.space == "param"] + function.returns
        for variable in own if function.is_entry else own + function.parameters:
            self.parameters[variable.name] = np.zeros((count, variable.nbytes), np.uint8)
        self.local: dict[str, int] = {}
        for variable in function.variables:
            if variable.space == "local":
                local_start = -(-local_start // variable.align) * variable.align
                self.local[variable.name] = local_start
                local_start += variable.nbytes
        self.local_end = local_start

    def target(self, operand: Operand, at: Instruction) -> int:
        if not isinstance(operand, Symbol) or operand.name not in self.function.labels:
            raise at.error("unknown label")
        return self.base_pc + self.function.labels[operand.name]

    def reader(self, operand: Operand, kind: str, at: Instruction) -> Reader:
        """Reads an operand as the type: one element per lane, or a single one for constants."""
        if kind not in DTYPES:
            raise at.error(f"type .{kind} is not supported")
        dtype = DTYPES[kind]
        if isinstance(operand, Register):
            array = self.registers[operand.name]
            if array.dtype == np.bool_ or dtype == np.bool_:
                if array.dtype != dtype:
                    raise at.error("a predicate where a number is expected, or the reverse")
                return lambda lanes: array[lanes]
            if array.dtype.itemsize == dtype.itemsize:
                view = array.view(dtype)
                return lambda lanes: view[lanes]
            narrow = UNSIGNED[dtype.itemsize]
            return lambda lanes: array[lanes].astype(narrow).view(dtype)
        if isinstance(operand, Negated):
            inner = self.reader(operand.operand, "pred", at)
            return lambda lanes: ~inner(lanes)
        if isinstance(operand, Special):
            value = self.machine.special(operand.name, at).astype(dtype)
            return lambda lanes: value[lanes]
        if isinstance(operand, Immediate):
            constant = _immediate(operand, dtype, at)
            return lambda lanes: constant
        if isinstance(operand, Symbol):
            constant = np.array([self.symbol(operand, at)], np.uint64).astype(dtype)
            return lambda lanes: constant
        raise at.error(f"operand {operand} cannot be read here")

    def writer(self, operand: Operand, at: Instruction) -> Writer:
        if isinstance(operand, Symbol) and operand.name == "_":
            return lambda lanes, value: None
        if not isinstance(operand, Register):
            raise at.error("the destination is not a register")
        array = self.registers[operand.name]

        def write(lanes: Lanes, value: np.ndarray) -> None:
            if value.dtype.kind == "f":
                value = np.ascontiguousarray(value).view(UNSIGNED[value.dtype.itemsize])
            array[lanes] = value  # integers are extended by their own sign, or cut

        return write

    def symbol(self, symbol: Symbol, at: Instruction) -> int:
        if symbol.name in self.local:
            return self.local[symbol.name] + symbol.offset
        address = self.machine.symbols.get(symbol.name)
        if address is None:
            raise at.error(f"unknown symbol {symbol.name}")
        return address + symbol.offset

    def address(self, operand: Operand, at: Instruction) -> Reader:
        """Reads the byte address of [base + offset], as uint64."""
        if not isinstance(operand, Address):
            raise at.error("an address is expected")
        base, offset = operand.base, np.uint64(operand.offset % 2**64)
        if isinstance(base, Register) and self.registers[base.name].dtype.itemsize == 4:
            narrow, mask = self.reader(base, "u32", at), np.uint64(0xFFFFFFFF)
            return lambda lanes: (narrow(lanes).astype(np.uint64) + offset) & mask
        wide = self.reader(base, "u64", at)
        return lambda lanes: wide(lanes) + offset

    def parameter(self, operand: Operand) -> tuple[np.ndarray, int] | None:
        """Returns storage and offset of [param + n], if each thread has its own parameter."""
        if isinstance(operand, Address) and isinstance(operand.base, Symbol):
            storage = self.parameters.get(operand.base.name)
            if storage is not None:
                return storage, operand.offset + operand.base.offset
        return None

    def items(self, operand: Operand) -> tuple[Operand, ...]:
        return operand.items if isinstance(operand, Vector) else (operand,)


def _immediate(operand: Immediate, dtype: np.dtype, at: Instruction) -> np.ndarray:
    if dtype == np.bool_:
        return np.array([operand.bits != 0])
    bits = operand.bits % (1 << 8 * dtype.itemsize)
    if operand.kind == "int":
        if dtype.kind == "f":
            raise at.error("an integer constant where a float is expected")
    elif operand.kind == "f32" and dtype == np.float64:
        return np.array([operand.bits], np.uint32).view(np.float32).astype(np.float64)
    elif operand.kind == "f64" and dtype == np.float32:
        return np.array([operand.bits], np.uint64).view(np.float64).astype(np.float32)
    return np.array([bits], UNSIGNED[dtype.itemsize]).view(dtype)
