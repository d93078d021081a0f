"""The table of the functions that build the instructions."""

from __future__ import annotations

from collections.abc import Callable

from .frame import Frame
from .machine import Step
from .syntax import Instruction

Builder = Callable[[Frame, Instruction], Step]
BUILDERS: dict[str, Builder] = {}


def instruction(*opcodes: str) -> Callable[[Builder], Builder]:
    """Registers a builder: it reads the operands once and returns what runs for given lanes."""

    def register(builder: Builder) -> Builder:
        for opcode in opcodes:
            BUILDERS[opcode] = builder
        return builder

    return register


def require(at: Instruction, *allowed: str) -> None:
    """Refuses modifiers that the builder does not implement."""
    for modifier in at.modifiers:
        if modifier not in allowed:
            raise at.error(f"unsupported instruction (modifier .{modifier})")
