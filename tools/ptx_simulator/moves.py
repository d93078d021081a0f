"""Moving data between registers, and between address windows."""

from __future__ import annotations

import numpy as np

from .frame import Frame, Lanes
from .machine import LOCAL_WINDOW, Step, generic_owner, unsupported
from .registry import instruction
from .syntax import DTYPES, UNSIGNED, Instruction, Vector


@instruction("mov")
def build_mov(frame: Frame, at: Instruction) -> Step:
    target, source = at.operands
    dtype = DTYPES.get(at.type)
    if dtype is None:
        raise unsupported(at)
    if isinstance(target, Vector):
        writers = [frame.writer(item, at) for item in target.items]
        part = UNSIGNED[dtype.itemsize // len(writers)]
        read = frame.reader(source, at.type, at)

        def unpack(lanes: Lanes) -> None:
            parts = np.ascontiguousarray(read(lanes)).view(part).reshape(-1, len(writers)).copy()
            for column, write in enumerate(writers):
                write(lanes, parts[:, column])

        return unpack
    write = frame.writer(target, at)
    if isinstance(source, Vector):
        part_kind = f"u{dtype.itemsize * 8 // len(source.items)}"
        readers = [frame.reader(item, part_kind, at) for item in source.items]

        def pack(lanes: Lanes) -> None:
            columns = np.broadcast_arrays(*(r(lanes) for r in readers))
            write(lanes, np.stack(columns, 1).view(UNSIGNED[dtype.itemsize]).reshape(-1))

        return pack
    read = frame.reader(source, at.type, at)
    return lambda lanes: write(lanes, read(lanes))


@instruction("cvta")
def build_cvta(frame: Frame, at: Instruction) -> Step:
    machine, to = frame.machine, "to" in at.modifiers
    write, read = frame.writer(at.operands[0], at), frame.reader(at.operands[1], "u64", at)
    if any(m.startswith("shared") for m in at.modifiers):
        convert = machine.generic_to_shared if to else machine.shared_to_generic
        return lambda lanes: write(lanes, convert(read(lanes), lanes))
    window = np.uint64(LOCAL_WINDOW if "local" in at.modifiers else 0)
    return lambda lanes: write(lanes, read(lanes) ^ window)


@instruction("isspacep")
def build_isspacep(frame: Frame, at: Instruction) -> Step:
    wanted = {"global": 0, "shared": 1, "local": 2}.get(at.type.split("::")[0])
    if wanted is None:
        raise unsupported(at)
    write, read = frame.writer(at.operands[0], at), frame.reader(at.operands[1], "u64", at)
    return lambda lanes: write(lanes, read(lanes) >> np.uint64(56) == wanted)


@instruction("mapa")
def build_mapa(frame: Frame, at: Instruction) -> Step:
    machine = frame.machine
    cluster = machine.shape.cluster
    generic = not any(m.startswith("shared") for m in at.modifiers)
    write, read = frame.writer(at.operands[0], at), frame.reader(at.operands[1], at.type, at)
    rank = frame.reader(at.operands[2], "u32", at)

    def step(lanes: Lanes) -> None:
        target = rank(lanes)
        if (target >= cluster).any():
            raise at.error(f"mapa names rank {int(target.max())} of a cluster of {cluster}")
        offset = read(lanes).astype(np.uint64) & np.uint64(0xFFFFFF)
        mapped = ((target.astype(np.uint64) + np.uint64(1)) << np.uint64(24)) | offset
        write(lanes, machine.shared_to_generic(mapped, lanes) if generic else mapped)

    return step


@instruction("getctarank")
def build_getctarank(frame: Frame, at: Instruction) -> Step:
    machine = frame.machine
    in_window = any(m.startswith("shared") for m in at.modifiers)
    write, read = frame.writer(at.operands[0], at), frame.reader(at.operands[1], at.type, at)

    def step(lanes: Lanes) -> None:
        address = read(lanes).astype(np.uint64)
        owner = machine.owner(address, lanes) if in_window else generic_owner(address)
        write(lanes, (owner % machine.shape.cluster).astype(np.uint32))

    return step
