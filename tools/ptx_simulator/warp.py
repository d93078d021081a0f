"""Instructions that look at the other lanes of a warp.

A step with a mask is called once all lanes that the mask names have arrived; `masks` holds each
thread's mask, without the lanes that a partial last warp does not have.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .frame import Frame
from .machine import Machine, Step, lane_matrix, unsupported
from .registry import instruction
from .syntax import DTYPES, Instruction, Pair

WarpStep = Callable[[np.ndarray, np.ndarray], None]
_LANES = np.arange(32, dtype=np.uint32)


def _bits(masks: np.ndarray) -> np.ndarray:
    return ((masks[:, None] >> _LANES) & np.uint32(1)).astype(bool)


def _bitset(thread: np.ndarray, chosen: np.ndarray, machine: Machine) -> np.ndarray:
    """Returns for each thread the chosen lanes of its warp, as bits."""
    rows = lane_matrix(thread, chosen.astype(bool), machine.threads).astype(np.uint32)
    return (rows << _LANES).sum(1, dtype=np.uint32)[thread // 32]


@instruction("activemask")
def build_activemask(frame: Frame, at: Instruction) -> Step:
    machine, write = frame.machine, frame.writer(at.operands[0], at)

    def step(lanes: np.ndarray | slice) -> None:
        thread = machine.number[lanes]
        write(lanes, _bitset(thread, np.ones(len(thread), bool), machine))

    return step


def build_shfl(frame: Frame, at: Instruction) -> WarpStep:
    machine, mode = frame.machine, at.modifiers[1]
    target = at.operands[0]
    targets = (target.first, target.second) if isinstance(target, Pair) else (target,)
    writers = [frame.writer(t, at) for t in targets]
    value, amount, control = (
        frame.reader(o, k, at) for o, k in zip(at.operands[1:4], ("b32", "u32", "u32"), strict=True)
    )

    def step(thread: np.ndarray, masks: np.ndarray) -> None:
        lane = machine.lane[thread].astype(np.int64)
        b, c = amount(thread).astype(np.int64) & 31, control(thread).astype(np.int64)
        segment, clamp = (c >> 8) & 31, c & 31
        highest = (lane & segment) | (clamp & ~segment)
        lowest = lane & segment
        source = {
            "up": lane - b,
            "down": lane + b,
            "bfly": lane ^ b,
            "idx": lowest | (b & ~segment),
        }[mode]
        inside = source >= highest if mode == "up" else source <= highest
        source = np.where(inside, source, lane)
        present = (masks >> source.astype(np.uint32)) & np.uint32(1)
        if not present.all():
            raise at.error("shfl reads a lane that takes no part")
        rows = lane_matrix(thread, np.broadcast_to(value(thread), thread.shape), machine.threads)
        writers[0](thread, rows[thread // 32, source])
        if len(writers) > 1:
            writers[1](thread, inside)

    return step


def build_vote(frame: Frame, at: Instruction) -> WarpStep:
    machine, mode = frame.machine, at.modifiers[1]
    if mode not in ("ballot", "any", "all", "uni"):
        raise unsupported(at)
    write, predicate = frame.writer(at.operands[0], at), frame.reader(at.operands[1], "pred", at)

    def step(thread: np.ndarray, masks: np.ndarray) -> None:
        true = _bitset(thread, predicate(thread), machine) & masks
        if mode == "ballot":
            write(thread, true)
        elif mode == "any":
            write(thread, true != 0)
        elif mode == "all":
            write(thread, true == masks)
        else:
            write(thread, (true == 0) | (true == masks))

    return step


def build_match(frame: Frame, at: Instruction) -> WarpStep:
    machine, mode = frame.machine, at.modifiers[0]
    target = at.operands[0]
    targets = (target.first, target.second) if isinstance(target, Pair) else (target,)
    writers = [frame.writer(t, at) for t in targets]
    value = frame.reader(at.operands[1], at.type, at)

    def step(thread: np.ndarray, masks: np.ndarray) -> None:
        own = np.broadcast_to(value(thread), thread.shape)
        rows = lane_matrix(thread, own, machine.threads)[thread // 32]
        equal = ((rows == own[:, None]) & _bits(masks)).astype(np.uint32)
        same = (equal << _LANES).sum(1, dtype=np.uint32)
        everyone = same == masks
        writers[0](thread, same if mode == "any" else np.where(everyone, masks, np.uint32(0)))
        if len(writers) > 1:
            writers[1](thread, everyone)

    return step


def build_redux(frame: Frame, at: Instruction) -> WarpStep:
    machine, dtype = frame.machine, DTYPES[at.type]
    if dtype.kind == "f":
        raise unsupported(at)
    info = np.iinfo(dtype)
    ufunc, identity = {
        "add": (np.add, 0),
        "min": (np.minimum, info.max),
        "max": (np.maximum, info.min),
        "and": (np.bitwise_and, -1 if info.min else info.max),
        "or": (np.bitwise_or, 0),
        "xor": (np.bitwise_xor, 0),
    }[at.modifiers[1]]
    write, value = frame.writer(at.operands[0], at), frame.reader(at.operands[1], at.type, at)

    def step(thread: np.ndarray, masks: np.ndarray) -> None:
        own = np.broadcast_to(value(thread), thread.shape)
        rows = lane_matrix(thread, own, machine.threads)[thread // 32]
        rows = np.where(_bits(masks), rows, dtype.type(identity))
        write(thread, ufunc.reduce(rows, axis=1, dtype=dtype))

    return step


def build_elect(frame: Frame, at: Instruction) -> WarpStep:
    machine, target = frame.machine, at.operands[0]
    assert isinstance(target, Pair)
    leader, elected = frame.writer(target.first, at), frame.writer(target.second, at)

    def step(thread: np.ndarray, masks: np.ndarray) -> None:
        lowest = _bits(masks).argmax(1).astype(np.uint32)
        leader(thread, lowest)
        elected(thread, lowest == machine.lane[thread])

    return step


def build_warp_barrier(frame: Frame, at: Instruction) -> WarpStep:
    races = frame.machine.shared.races
    return lambda thread, masks: races.end_warp_barrier(thread, masks)


WARP_BUILDERS: dict[str, Callable[[Frame, Instruction], WarpStep]] = {
    "shfl": build_shfl,
    "vote": build_vote,
    "match": build_match,
    "redux": build_redux,
    "elect": build_elect,
    "bar": build_warp_barrier,
}


def is_warp_instruction(at: Instruction) -> bool:
    if at.opcode in ("bar", "barrier"):
        return "warp" in at.modifiers
    return at.opcode in WARP_BUILDERS and "sync" in at.modifiers
