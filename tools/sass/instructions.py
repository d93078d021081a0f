"""The SASS that cuobjdump prints, as instructions."""

from __future__ import annotations

import dataclasses
import re

_FUNCTION = re.compile(r"^\s*Function : (\S+)")
_INSTRUCTION = re.compile(
    r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P(?:T|\d))\s+)?([A-Z][A-Z0-9_.]*)\s*([^;]*);"
)
_BYTES = {"8": 1, "U8": 1, "S8": 1, "16": 2, "U16": 2, "S16": 2, "64": 8, "128": 16}
_MEMORY = ("LDG", "STG", "LDS", "STS", "LDL", "STL", "LD", "ST")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction; ``predicate`` is ``P0``, ``!UP1`` and the like, or empty."""

    address: int
    predicate: str
    opcode: str  # with its modifiers: LDG.E.128
    operands: tuple[str, ...]

    def matches(self, prefix: str) -> bool:
        """Whether this is the opcode ``prefix``, whatever modifiers it has besides: ``STG`` and
        ``STG.E`` match ``STG.E.128``, ``ST`` does not."""
        return f"{self.opcode}.".startswith(f"{prefix}.")

    @property
    def access(self) -> tuple[str, int] | None:
        """The kind and the bytes of a load or a store: ``("LDG", 16)``."""
        kind, *modifiers = self.opcode.split(".")
        if kind not in _MEMORY:
            return None
        return kind, next((_BYTES[m] for m in modifiers if m in _BYTES), 4)

    @property
    def is_padding(self) -> bool:
        return self.opcode == "NOP"


def parse_dump(text: str) -> dict[str, list[Instruction]]:
    """The functions in the output of ``cuobjdump --dump-sass``, by their mangled names."""
    functions: dict[str, list[Instruction]] = {}
    body: list[Instruction] = []
    for line in text.splitlines():
        if match := _FUNCTION.match(line):
            body = functions.setdefault(match[1], [])
        elif match := _INSTRUCTION.match(line):
            address, predicate, opcode, operands = match.groups()
            parts = tuple(part.strip() for part in operands.split(",") if part.strip())
            body.append(Instruction(int(address, 16), predicate or "", opcode, parts))
    return functions
