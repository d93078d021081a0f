"""Calls of device functions: parameters, return addresses, and failed assertions."""

from __future__ import annotations

import numpy as np

from .frame import Frame
from .machine import Machine
from .syntax import Instruction, Symbol, Vector

_MAX_DEPTH = 16


class Calls:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.depth = np.zeros(machine.threads, np.int64)
        self.return_pc = np.zeros((machine.threads, _MAX_DEPTH), np.int64)
        self.active = {f.function.name: np.zeros(machine.threads, bool) for f in machine.frames}

    def enter(self, thread: np.ndarray, pc: int, at: Instruction) -> int:
        """Copies the arguments and returns where the function begins."""
        name, arguments, _ = call_parts(at)
        if name is None:
            raise at.error("indirect calls are not supported")
        caller, callee = self.machine.frame_at[pc], self.machine.function_frame(name)
        if name == "__assertfail":
            who = int(thread[0])
            block, number = int(self.machine.block[who]), int(self.machine.in_block[who])
            raise at.error(f"a device assertion failed in block {block}, thread {number}")
        if callee is None:
            raise at.error(f"call of {name}, which this module does not define")
        if self.active[name][thread].any():
            raise at.error("recursion is not supported")
        for argument, parameter in zip(arguments, callee.function.parameters, strict=True):
            source = _storage(caller, argument, at)
            callee.parameters[parameter.name][thread] = source[thread]
        if (self.depth[thread] >= _MAX_DEPTH).any():
            raise at.error(f"calls nest deeper than {_MAX_DEPTH}")
        self.active[name][thread] = True
        self.return_pc[thread, self.depth[thread]] = pc + 1
        self.depth[thread] += 1
        return callee.base_pc

    def leave(self, thread: np.ndarray, pc: int) -> np.ndarray:
        """Copies the results and returns where each thread goes on."""
        frame = self.machine.frame_at[pc]
        self.active[frame.function.name][thread] = False
        self.depth[thread] -= 1
        back = self.return_pc[thread, self.depth[thread]]
        for target in np.unique(back):
            returning = thread[back == target]
            at, caller = self.machine.code[target - 1], self.machine.frame_at[target - 1]
            for result, own in zip(call_parts(at)[2], frame.function.returns, strict=True):
                _storage(caller, result, at)[returning] = frame.parameters[own.name][returning]
        return back


def call_parts(at: Instruction) -> tuple[str | None, list[Symbol], list[Symbol]]:
    """Returns function, arguments and results of a call; an indirect call has no name."""
    operands = list(at.operands)
    results: list[Symbol] = []
    if isinstance(operands[0], Vector):
        results = list(operands.pop(0).items)  # type: ignore[union-attr, arg-type]
    target = operands.pop(0)
    arguments = list(operands[0].items) if operands and isinstance(operands[0], Vector) else []
    return target.name if isinstance(target, Symbol) else None, arguments, results  # type: ignore[return-value]


def _storage(frame: Frame, symbol: Symbol, at: Instruction) -> np.ndarray:
    if not isinstance(symbol, Symbol) or symbol.name not in frame.parameters:
        raise at.error("only .param variables can be passed to a function")
    return frame.parameters[symbol.name]
