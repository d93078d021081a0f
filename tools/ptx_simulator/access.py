"""Loads, stores and atomics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .frame import Frame, Lanes
from .machine import Step, unsupported
from .registry import instruction
from .syntax import DTYPES, Function, Instruction

_SPACES = ("param", "global", "shared", "local", "const")
# Caching and ordering hints that change no value here: lanes run in order, memory is one.
_HINTS = {
    "nc", "volatile", "weak", "relaxed", "acquire", "release", "acq_rel", "cta", "cluster", "gpu",
    "sys", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "v2", "v4", "v8",
}  # fmt: skip


def _space(at: Instruction) -> str:
    for modifier in at.modifiers:
        stem, _, detail = modifier.partition("::")
        if stem in _SPACES:
            return "shared::cluster" if detail == "cluster" else stem
    return "generic"


def _check_modifiers(at: Instruction, *more: str) -> None:
    for modifier in at.modifiers[:-1]:
        known = modifier in _HINTS or modifier in more or modifier.split("::")[0] in _SPACES
        if (not known and modifier.split("::")[0] not in ("L1", "L2")) or "cache_hint" in modifier:
            raise at.error(f"unsupported instruction (modifier .{modifier})")


def _kind(at: Instruction, plain: str) -> str:
    """Returns the kind of an access, in capitals if strong: these race only with plain ones."""
    strong = {"relaxed", "acquire", "release", "acq_rel"} & set(at.modifiers)
    return plain.upper() if strong else plain


@instruction("ld", "ldu")
def build_load(frame: Frame, at: Instruction) -> Step:
    _check_modifiers(at)
    dtype, targets = DTYPES[at.type], frame.items(at.operands[0])
    writers = [frame.writer(target, at) for target in targets]
    parameter = frame.parameter(at.operands[1])
    if parameter is not None:
        storage, offset = parameter
        width = dtype.itemsize

        def load_parameter(lanes: Lanes) -> None:
            for i, write in enumerate(writers):
                start = offset + i * width
                cell = np.ascontiguousarray(storage[lanes, start : start + width])
                write(lanes, cell.view(dtype).reshape(-1))

        return load_parameter
    machine, space = frame.machine, _space(at)
    address, nbytes, kind = (
        frame.address(at.operands[1], at),
        dtype.itemsize * len(targets),
        _kind(at, "r"),
    )

    def load(lanes: Lanes) -> None:
        groups = machine.resolve(space, address(lanes), lanes, nbytes, dtype, kind, at)
        if len(groups) == 1:
            view, index, _ = groups[0]
            for i, write in enumerate(writers):
                write(lanes, view[index + i])
            return
        for i, write in enumerate(writers):
            value = np.zeros(len(machine.number[lanes]), dtype)
            for view, index, chosen in groups:
                value[chosen] = view[index + i]
            write(lanes, value)

    return load


@instruction("st")
def build_store(frame: Frame, at: Instruction) -> Step:
    _check_modifiers(at)
    dtype, sources = DTYPES[at.type], frame.items(at.operands[1])
    readers = [frame.reader(source, at.type, at) for source in sources]
    parameter = frame.parameter(at.operands[0])
    if parameter is not None:
        storage, offset = parameter
        width = dtype.itemsize

        def store_parameter(lanes: Lanes) -> None:
            for i, read in enumerate(readers):
                start = offset + i * width
                value = np.ascontiguousarray(read(lanes)).view(np.uint8).reshape(-1, width)
                storage[lanes, start : start + width] = value

        return store_parameter
    machine, space = frame.machine, _space(at)
    address, nbytes, kind = (
        frame.address(at.operands[0], at),
        dtype.itemsize * len(sources),
        _kind(at, "w"),
    )
    if space in ("const", "param"):
        raise unsupported(at)

    def store(lanes: Lanes) -> None:
        groups = machine.resolve(space, address(lanes), lanes, nbytes, dtype, kind, at)
        for i, read in enumerate(readers):
            value = read(lanes)
            for view, index, chosen in groups:
                view[index + i] = value if chosen is None or len(value) == 1 else value[chosen]

    return store


Update = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]
_UFUNCS: dict[str, np.ufunc] = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}


def _without_third(ufunc: np.ufunc) -> Update:
    return lambda old, b, c: ufunc(old, b)


_UPDATES: dict[str, Update] = {
    **{name: _without_third(ufunc) for name, ufunc in _UFUNCS.items()},
    "exch": lambda old, b, c: b,
    "cas": lambda old, b, c: np.where(old == b, c, old),
    "inc": lambda old, b, c: np.where(old >= b, 0, old + np.ones_like(old)),
    "dec": lambda old, b, c: np.where((old == 0) | (old > b), b, old - np.ones_like(old)),
}


@instruction("atom", "red")
def build_atomic(frame: Frame, at: Instruction) -> Step:
    operation = next((m for m in at.modifiers if m in _UPDATES), None)
    if operation is None or at.type in ("f16", "bf16", "f16x2", "bf16x2"):
        raise unsupported(at)
    _check_modifiers(at, operation)
    machine, space, dtype = frame.machine, _space(at), DTYPES[at.type]
    operands = list(at.operands)
    target = operands.pop(0) if at.opcode == "atom" else None
    # nvcc keeps the destination also where nobody reads it, and without one the order is free.
    if not observes(frame.function, at):
        target = None
    write = frame.writer(target, at) if target is not None else None
    address = frame.address(operands[0], at)
    b = frame.reader(operands[1], at.type, at)
    c = frame.reader(operands[2], at.type, at) if len(operands) > 2 else None
    update, ufunc = _UPDATES[operation], _UFUNCS.get(operation)

    def step(lanes: Lanes) -> None:
        count = len(machine.number[lanes])
        groups = machine.resolve(space, address(lanes), lanes, dtype.itemsize, dtype, "a", at)
        second = np.broadcast_to(b(lanes), count)
        third = np.broadcast_to(c(lanes), count) if c is not None else second
        old = np.zeros(count, dtype)
        for view, index, chosen in groups:
            part = slice(None) if chosen is None else chosen
            if write is None and ufunc is not None:
                ufunc.at(view, index, second[part])
            else:
                old[part] = _in_order(view, index, second[part], third[part], update)
        if write is not None:
            write(lanes, old)

    return step


def _in_order(
    view: np.ndarray, index: np.ndarray, b: np.ndarray, c: np.ndarray, update: Update
) -> np.ndarray:
    """Updates in the order of the threads, in rounds of lanes whose addresses differ."""
    old = np.empty(len(index), view.dtype)
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    turn = np.arange(len(index)) - np.repeat(starts, np.diff(np.r_[starts, len(index)]))
    by_turn = order[np.argsort(turn, kind="stable")]
    ends = np.cumsum(np.bincount(turn))
    for start, end in zip(np.r_[0, ends[:-1]], ends, strict=True):
        lanes = by_turn[start:end]
        where = index[lanes]
        old[lanes] = view[where]
        view[where] = update(old[lanes], b[lanes], c[lanes])
    return old


def observes(function: Function, at: Instruction) -> bool:
    """Tells whether ``at`` reads what another thread may change, so that a loop can wait for it."""
    if at.opcode == "atom":
        return at.operands[0] in function.registers_read
    return at.opcode == "ld" and bool({"volatile", "relaxed", "acquire"} & set(at.modifiers))


@instruction("prefetch", "prefetchu", "membar", "fence", "nanosleep", "discard", "griddepcontrol")
def build_nothing(frame: Frame, at: Instruction) -> Step:
    return lambda lanes: None
