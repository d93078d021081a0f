"""Where a kernel can go on after an instruction."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from .instructions import Instruction

_INDIRECT = ("BRX", "BRXU", "JMX", "JMXU", "JMP")
# A call to an address outside of the kernel is taken for a failed assertion, which does not return.
_STOPS = ("BPT", "KILL", "CALL.ABS")


class FlowError(ValueError):
    """A kernel goes on in a way that cannot be followed."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A way on: to an instruction by its index, into a function, out of it, or to the end."""

    kind: str  # "go", "call", "return", "exit", or "unknown" after an indirect jump
    target: int = -1


class Flow:
    """The control flow of one kernel, instruction by instruction.

    Reconvergence does not move a thread: ptxas puts BSYNC in front of the address that its BSSY
    names. A function returns to the instruction after its call.
    """

    def __init__(self, body: Sequence[Instruction]) -> None:
        self.body = body
        self._index = {at.address: i for i, at in enumerate(body)}
        self._meeting_points = {at.operands for at in body if at.matches("BSSY")}
        self.steps = [self._steps(i) for i in range(len(body))]

    def _steps(self, i: int) -> tuple[Step, ...]:
        at = self.body[i]
        taken = self._when_executed(i)
        if taken is None:
            return self._next(i)
        conditional = at.predicate or (at.matches("BRA") and len(at.operands) > 1)
        if at.predicate in ("!PT", "!UPT"):
            return self._next(i)
        if conditional and at.predicate not in ("PT", "UPT"):
            return (*taken, *self._next(i))
        return taken

    def _when_executed(self, i: int) -> tuple[Step, ...] | None:
        """Where an executed instruction leads, None if to the next one."""
        at = self.body[i]
        if at.matches("EXIT"):
            return (Step("exit"),)
        if at.matches("RET"):
            return (Step("return"),)
        if any(at.matches(name) for name in _STOPS):
            return ()
        if any(at.matches(name) for name in _INDIRECT):
            return (Step("unknown"),)
        if at.matches("BRA"):
            return (Step("go", self._target(at)),)
        if at.matches("CALL"):
            return (Step("call", self._target(at)),)
        if at.matches("BSYNC"):
            self._check_meeting_point(at)
        return None

    def _next(self, i: int) -> tuple[Step, ...]:
        following = self.skip_padding(i + 1)
        return (Step("go", following),) if following < len(self.body) else ()

    def skip_padding(self, i: int) -> int:
        """The first instruction from this one on that is no NOP."""
        while i < len(self.body) and self.body[i].is_padding:
            i += 1
        return i

    def _target(self, at: Instruction) -> int:
        try:
            return self.skip_padding(self._index[int(at.operands[-1], 16)])
        except (IndexError, KeyError, ValueError):
            raise FlowError(f"{at.address:#x}: {at.opcode} leads nowhere that is known") from None

    def _check_meeting_point(self, at: Instruction) -> None:
        here = {(at.operands[0], hex(at.address + offset)) for offset in (0, 16)}
        if not here & self._meeting_points:
            raise FlowError(f"{at.address:#x}: BSYNC is not where its BSSY says")
