"""The cheapest way through a kernel that does what is asked."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence

from .flow import Flow, FlowError, Step
from .instructions import Instruction

_DEEPEST_CALL = 4


@dataclasses.dataclass(frozen=True)
class _State:
    at: int  # index of the instruction that comes next
    done: tuple[int, ...]  # how often each mark was met
    returns: tuple[int, ...] = ()  # where the functions that were called return to


@dataclasses.dataclass(frozen=True)
class Path:
    """The instructions that a thread is issued from the entry to EXIT, in order."""

    instructions: tuple[Instruction, ...]

    def __len__(self) -> int:
        return len(self.instructions)

    @property
    def accesses(self) -> dict[tuple[str, int], int]:
        """How many loads and stores of which kind and how many bytes: ``{("LDG", 16): 2}``."""
        found = (at.access for at in self.instructions)
        return dict(collections.Counter(access for access in found if access))


def shortest_path(body: Sequence[Instruction], marks: Mapping[str, int]) -> Path:
    """The fewest instructions from the entry to EXIT among which the opcodes ``marks`` occur at
    least so many times: ``{"STG": 1, "MUFU.RSQ": 2}``.

    A predicated instruction counts as issued, and as met if it is a mark; NOPs do not count. An
    edge back is taken as often as the marks need it.

    Raises:
        FlowError: there is no such path, or it may lead through an indirect jump.
    """
    flow = Flow(body)
    start = _State(flow.skip_padding(0), (0,) * len(marks))
    came_from: dict[_State, _State] = {start: start}
    queue = collections.deque([start])
    while queue:  # every instruction costs one, so the first path to arrive is a shortest
        state = queue.popleft()
        issued = body[state.at]
        done = _met(issued, state.done, marks)
        for step in flow.steps[state.at]:
            if step.kind == "exit":
                if all(n >= wanted for n, wanted in zip(done, marks.values(), strict=True)):
                    return _collect(body, came_from, state)
                continue
            following = _follow(step, state, done, flow)
            if following not in came_from:
                came_from[following] = state
                queue.append(following)
    raise FlowError(f"no path to EXIT meets {dict(marks)}")


def _met(at: Instruction, done: tuple[int, ...], marks: Mapping[str, int]) -> tuple[int, ...]:
    """More than is wanted of a mark is the same as what is wanted: that keeps the states few."""
    return tuple(
        min(wanted, n + at.matches(mark))
        for n, (mark, wanted) in zip(done, marks.items(), strict=True)
    )


def _follow(step: Step, state: _State, done: tuple[int, ...], flow: Flow) -> _State:
    if step.kind == "go":
        return _State(step.target, done, state.returns)
    if step.kind == "call" and len(state.returns) < _DEEPEST_CALL:
        after = flow.skip_padding(state.at + 1)
        return _State(step.target, done, (*state.returns, after))
    if step.kind == "return" and state.returns:
        return _State(state.returns[-1], done, state.returns[:-1])
    at = flow.body[state.at]
    raise FlowError(f"{at.address:#x}: {at.opcode} cannot be followed")


def _collect(body: Sequence[Instruction], came_from: Mapping[_State, _State], last: _State) -> Path:
    issued = [body[last.at]]
    while came_from[last] is not last:
        last = came_from[last]
        issued.append(body[last.at])
    return Path(tuple(reversed(issued)))
