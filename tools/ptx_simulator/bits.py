"""Logic, shifts and bit fields."""

from __future__ import annotations

import numpy as np

from .arithmetic import binary, unary
from .frame import Frame, Lanes
from .machine import Step
from .registry import instruction, require
from .syntax import DTYPES, UNSIGNED, Instruction


@instruction("and", "or", "xor")
def build_logic(frame: Frame, at: Instruction) -> Step:
    apply = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[at.opcode]
    return binary(frame, at, at.type, apply)


@instruction("not")
def build_not(frame: Frame, at: Instruction) -> Step:
    return unary(frame, at, at.type, np.invert)


@instruction("cnot")
def build_cnot(frame: Frame, at: Instruction) -> Step:
    return unary(frame, at, at.type, lambda a: a == 0)


@instruction("lop3")
def build_lop3(frame: Frame, at: Instruction) -> Step:
    require(at, "b32")
    write = frame.writer(at.operands[0], at)
    a, b, c = (frame.reader(operand, "u32", at) for operand in at.operands[1:4])
    table = at.operands[4].bits

    def step(lanes: Lanes) -> None:
        x, y, z = a(lanes), b(lanes), c(lanes)
        result = np.zeros(1, np.uint32)
        for row in range(8):
            if table >> row & 1:
                result = result | (
                    (x if row & 4 else ~x) & (y if row & 2 else ~y) & (z if row & 1 else ~z)
                )
        write(lanes, result)

    return step


@instruction("shl", "shr")
def build_shift(frame: Frame, at: Instruction) -> Step:
    dtype = DTYPES[at.type]
    bits = dtype.itemsize * 8
    left = at.opcode == "shl"
    write = frame.writer(at.operands[0], at)
    a, amount = frame.reader(at.operands[1], at.type, at), frame.reader(at.operands[2], "u32", at)

    def step(lanes: Lanes) -> None:
        count = amount(lanes)
        inside = np.minimum(count, bits - 1).astype(dtype)
        value = a(lanes) << inside if left else a(lanes) >> inside
        if left or dtype.kind == "u":
            value = np.where(count >= bits, dtype.type(0), value)
        write(lanes, value)

    return step


@instruction("shf")
def build_funnel(frame: Frame, at: Instruction) -> Step:
    require(at, "l", "r", "wrap", "clamp", "b32")
    write = frame.writer(at.operands[0], at)
    low, high, amount = (frame.reader(operand, "u32", at) for operand in at.operands[1:4])
    left, wrap = "l" in at.modifiers, "wrap" in at.modifiers

    def step(lanes: Lanes) -> None:
        count = amount(lanes) & np.uint32(31) if wrap else np.minimum(amount(lanes), 32)
        both = (high(lanes).astype(np.uint64) << np.uint64(32)) | low(lanes)
        count = count.astype(np.uint64)
        value = (both << count) >> np.uint64(32) if left else both >> count
        write(lanes, value.astype(np.uint32))

    return step


@instruction("bfe")
def build_extract(frame: Frame, at: Instruction) -> Step:
    dtype = DTYPES[at.type]
    width = dtype.itemsize * 8
    write, a = frame.writer(at.operands[0], at), frame.reader(at.operands[1], at.type, at)
    position, length = (frame.reader(operand, "u32", at) for operand in at.operands[2:4])

    def step(lanes: Lanes) -> None:
        start = (position(lanes) & np.uint32(0xFF)).astype(np.int64)
        count = (length(lanes) & np.uint32(0xFF)).astype(np.int64)
        # Two shifts move the field up until its top bit is on top, and down again.
        value = a(lanes)
        if dtype.kind == "i":
            count = np.where(count == 0, 0, np.minimum(count, np.maximum(width - start, 0)))
            fill = np.where(start >= width, value >> dtype.type(width - 1), 0)
        else:
            count, fill = np.minimum(count, np.maximum(width - start, 0)), 0
        safe = np.maximum(count, 1)
        moved = value << np.clip(width - start - safe, 0, width - 1).astype(dtype)
        moved = moved >> (width - safe).astype(dtype)
        empty = count <= 0
        asked = (length(lanes) & np.uint32(0xFF)) > 0
        write(lanes, np.where(empty, np.where(asked, fill, 0), moved).astype(dtype))

    return step


@instruction("bfi")
def build_insert(frame: Frame, at: Instruction) -> Step:
    dtype = DTYPES[at.type]
    width = dtype.itemsize * 8
    write = frame.writer(at.operands[0], at)
    field, base = (frame.reader(operand, at.type, at) for operand in at.operands[1:3])
    position, length = (frame.reader(operand, "u32", at) for operand in at.operands[3:5])

    def step(lanes: Lanes) -> None:
        start = (position(lanes) & np.uint32(0xFF)).astype(np.uint64)
        count = np.minimum(length(lanes) & np.uint32(0xFF), width).astype(np.uint64)
        ones = np.where(
            count >= 64, ~np.uint64(0), (np.uint64(1) << (count % np.uint64(64))) - np.uint64(1)
        )
        place = start % np.uint64(64)
        mask = np.where(start >= width, np.uint64(0), ones << place)
        wide = (field(lanes).astype(np.uint64) << place) & mask
        write(lanes, (wide | (base(lanes).astype(np.uint64) & ~mask)).astype(dtype))

    return step


@instruction("bmsk")
def build_mask(frame: Frame, at: Instruction) -> Step:
    require(at, "clamp", "wrap", "b32")
    wrap = "wrap" in at.modifiers

    def mask(start: np.ndarray, length: np.ndarray) -> np.ndarray:
        start, length = (
            (v & np.uint32(31) if wrap else np.minimum(v, 32)).astype(np.uint64)
            for v in (start, length)
        )
        ones = (np.uint64(1) << length) - np.uint64(1)
        return (ones << start).astype(np.uint32)

    return binary(frame, at, "u32", mask)


@instruction("fns")
def build_nth_set(frame: Frame, at: Instruction) -> Step:
    write = frame.writer(at.operands[0], at)
    kinds = ("u32", "u32", "s32")
    readers = [frame.reader(o, k, at) for o, k in zip(at.operands[1:4], kinds, strict=True)]

    def nth(mask: int, base: int, count: int) -> int:
        """Returns the bit of the count-th one from base upwards, or downwards if it is negative."""
        if count == 0:
            return base if mask >> base & 1 else 0xFFFFFFFF
        order = range(base, 32) if count > 0 else range(base, -1, -1)
        ones = [bit for bit in order if mask >> bit & 1]
        return ones[abs(count) - 1] if len(ones) >= abs(count) else 0xFFFFFFFF

    def step(lanes: Lanes) -> None:
        rows = np.broadcast_arrays(*(read(lanes) for read in readers))
        values = [nth(*row) for row in zip(*(r.tolist() for r in rows), strict=True)]
        write(lanes, np.array(values, np.uint32))

    return step


@instruction("prmt")
def build_permute(frame: Frame, at: Instruction) -> Step:
    require(at, "b32")
    write = frame.writer(at.operands[0], at)
    a, b, selector = (frame.reader(operand, "u32", at) for operand in at.operands[1:4])

    def step(lanes: Lanes) -> None:
        both = (b(lanes).astype(np.uint64) << np.uint64(32)) | a(lanes)
        control = selector(lanes).astype(np.uint64)
        result = np.zeros(1, np.uint64)
        for byte in range(4):
            pick = control >> np.uint64(4 * byte)
            value = both >> ((pick & np.uint64(7)) * np.uint64(8)) & np.uint64(0xFF)
            sign = np.where(value & np.uint64(0x80), np.uint64(0xFF), np.uint64(0))
            value = np.where(pick & np.uint64(8), sign, value)
            result = result | (value << np.uint64(8 * byte))
        write(lanes, result.astype(np.uint32))

    return step


@instruction("popc")
def build_popc(frame: Frame, at: Instruction) -> Step:
    return unary(frame, at, at.type, lambda a: np.bitwise_count(a).astype(np.uint32))


@instruction("brev")
def build_brev(frame: Frame, at: Instruction) -> Step:
    width = DTYPES[at.type].itemsize

    def reverse(a: np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(a).view(np.uint8).reshape(-1, width)
        columns = np.unpackbits(rows, axis=1, bitorder="little")[:, ::-1]
        flipped = np.packbits(columns, axis=1, bitorder="little")
        return np.ascontiguousarray(flipped).view(a.dtype).reshape(-1)

    return unary(frame, at, at.type, reverse)


def _top_bit(a: np.ndarray) -> np.ndarray:
    """Returns the position of the highest one, -1 for zero."""
    wide = a.astype(np.uint64)
    high = np.frexp((wide >> np.uint64(32)).astype(np.float64))[1] + 32
    low = np.frexp((wide & np.uint64(0xFFFFFFFF)).astype(np.float64))[1]
    return np.where(wide >> np.uint64(32) != 0, high, low).astype(np.int32) - np.int32(1)


@instruction("clz")
def build_clz(frame: Frame, at: Instruction) -> Step:
    width = np.int32(DTYPES[at.type].itemsize * 8 - 1)
    return unary(frame, at, at.type, lambda a: width - _top_bit(a))


@instruction("bfind")
def build_bfind(frame: Frame, at: Instruction) -> Step:
    dtype = DTYPES[at.type]
    width = np.int32(dtype.itemsize * 8 - 1)

    def find(a: np.ndarray) -> np.ndarray:
        if dtype.kind == "i":
            a = np.where(a < 0, ~a, a)
        top = _top_bit(a.view(UNSIGNED[dtype.itemsize]))
        return np.where(top < 0, top, width - top) if "shiftamt" in at.modifiers else top

    return unary(frame, at, at.type, find)
