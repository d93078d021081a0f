"""Comparisons and selections."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .frame import Frame, Lanes
from .machine import Step, unsupported
from .registry import instruction
from .syntax import DTYPES, Instruction, Pair

Test = Callable[[np.ndarray, np.ndarray], np.ndarray]

_ORDERED: dict[str, Test] = {
    "eq": np.equal,
    "ne": lambda a, b: (a < b) | (a > b),  # false for NaN, unlike NumPy's
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
    "num": lambda a, b: ~(np.isnan(a) | np.isnan(b)),
    "nan": lambda a, b: np.isnan(a) | np.isnan(b),
}
_UNORDERED: dict[str, Test] = {
    "equ": lambda a, b: ~((a < b) | (a > b)),
    "neu": lambda a, b: ~(a == b),
    "ltu": lambda a, b: ~(a >= b),
    "leu": lambda a, b: ~(a > b),
    "gtu": lambda a, b: ~(a <= b),
    "geu": lambda a, b: ~(a < b),
}
_COMBINE = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


def _comparison(
    frame: Frame, at: Instruction, kind: str
) -> tuple[Callable[[Lanes], np.ndarray], ...]:
    """Returns functions for the result and for the second predicate of p|q."""
    name = at.modifiers[0]
    test = {**_ORDERED, **_UNORDERED}.get(name)
    if test is None or kind not in DTYPES or kind in ("f16", "bf16", "f16x2", "bf16x2"):
        raise unsupported(at)
    a, b = (frame.reader(operand, kind, at) for operand in at.operands[1:3])
    combine = _COMBINE.get(at.modifiers[1])
    if combine is None:
        return lambda lanes: test(a(lanes), b(lanes)), lambda lanes: ~test(a(lanes), b(lanes))
    c = frame.reader(at.operands[3], "pred", at)
    return (
        lambda lanes: combine(test(a(lanes), b(lanes)), c(lanes)),
        lambda lanes: combine(~test(a(lanes), b(lanes)), c(lanes)),
    )


@instruction("setp")
def build_setp(frame: Frame, at: Instruction) -> Step:
    if "ftz" in at.modifiers:
        raise unsupported(at)
    positive, negative = _comparison(frame, at, at.type)
    target = at.operands[0]
    if not isinstance(target, Pair):
        write = frame.writer(target, at)
        return lambda lanes: write(lanes, positive(lanes))
    first, second = frame.writer(target.first, at), frame.writer(target.second, at)

    def step(lanes: Lanes) -> None:
        values = positive(lanes).copy(), negative(lanes).copy()
        first(lanes, values[0])
        second(lanes, values[1])

    return step


@instruction("set")
def build_set(frame: Frame, at: Instruction) -> Step:
    if "ftz" in at.modifiers:
        raise unsupported(at)
    result, source = DTYPES[at.modifiers[-2]], at.modifiers[-1]
    positive, _ = _comparison(frame, at, source)
    write = frame.writer(at.operands[0], at)
    true = result.type(1) if result.kind == "f" else np.array(-1).astype(result)
    return lambda lanes: write(lanes, np.where(positive(lanes), true, result.type(0)))


@instruction("selp")
def build_selp(frame: Frame, at: Instruction) -> Step:
    write = frame.writer(at.operands[0], at)
    a, b = (frame.reader(operand, at.type, at) for operand in at.operands[1:3])
    c = frame.reader(at.operands[3], "pred", at)
    return lambda lanes: write(lanes, np.where(c(lanes), a(lanes), b(lanes)))


@instruction("slct")
def build_slct(frame: Frame, at: Instruction) -> Step:
    kind, test = at.modifiers[-2:]
    write = frame.writer(at.operands[0], at)
    a, b = (frame.reader(operand, kind, at) for operand in at.operands[1:3])
    c = frame.reader(at.operands[3], test, at)
    return lambda lanes: write(lanes, np.where(c(lanes) >= 0, a(lanes), b(lanes)))
