"""Integer and floating-point arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import floats
from .frame import Frame, Lanes
from .machine import Step, unsupported
from .registry import instruction, require
from .syntax import DTYPES, Instruction

_INTEGERS = ("u16", "s16", "u32", "s32", "u64", "s64")
_FLOATS = ("f32", "f64")


def unary(frame: Frame, at: Instruction, kind: str, apply: Callable[..., np.ndarray]) -> Step:
    write, a = frame.writer(at.operands[0], at), frame.reader(at.operands[1], kind, at)
    return lambda lanes: write(lanes, apply(a(lanes)))


def binary(frame: Frame, at: Instruction, kind: str, apply: Callable[..., np.ndarray]) -> Step:
    write = frame.writer(at.operands[0], at)
    a, b = (frame.reader(operand, kind, at) for operand in at.operands[1:3])
    return lambda lanes: write(lanes, apply(a(lanes), b(lanes)))


@instruction("add", "sub")
def build_add(frame: Frame, at: Instruction) -> Step:
    if "cc" in at.modifiers:
        return build_carry(frame, at)
    require(at, "rn", *_INTEGERS, *_FLOATS)
    return binary(frame, at, at.type, np.add if at.opcode == "add" else np.subtract)


@instruction("addc", "subc")
def build_carry(frame: Frame, at: Instruction) -> Step:
    """Builds sums with the carry of the thread, of which nvcc makes 128-bit integers."""
    require(at, "cc", "u32", "s32", "b32", "u64", "s64", "b64")
    carry, takes, gives = frame.machine.carry, at.opcode.endswith("c"), "cc" in at.modifiers
    kind = f"u{DTYPES[at.type].itemsize * 8}"
    subtract = at.opcode.startswith("sub")
    write = frame.writer(at.operands[0], at)
    a, b = (frame.reader(operand, kind, at) for operand in at.operands[1:3])

    def step(lanes: Lanes) -> None:
        x, y = a(lanes), b(lanes)
        extra = carry[lanes].astype(x.dtype) if takes else x.dtype.type(0)
        partial = x - y if subtract else x + y
        value = partial - extra if subtract else partial + extra
        if gives:
            over = (x < y) | (partial < extra) if subtract else (partial < x) | (value < partial)
            carry[lanes] = over
        write(lanes, value)

    return step


@instruction("mul")
def build_mul(frame: Frame, at: Instruction) -> Step:
    require(at, "rn", "lo", "hi", "wide", *_INTEGERS, *_FLOATS)
    return binary(frame, at, at.type, _product(at))


def _product(at: Instruction) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    dtype = DTYPES[at.type]
    if "wide" in at.modifiers:
        wide = np.dtype(f"{dtype.kind}{dtype.itemsize * 2}")
        return lambda a, b: a.astype(wide) * b.astype(wide)
    if "hi" not in at.modifiers:
        return np.multiply
    if dtype.itemsize == 8:
        return multiply_high_64
    wide, bits = np.dtype(f"{dtype.kind}{dtype.itemsize * 2}"), dtype.itemsize * 8
    return lambda a, b: ((a.astype(wide) * b.astype(wide)) >> wide.type(bits)).astype(dtype)


def multiply_high_64(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the upper half of the 128-bit product, of uint64 or int64."""
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    ua, ub = a.view(np.uint64), b.view(np.uint64)
    a0, a1, b0, b1 = ua & low, ua >> shift, ub & low, ub >> shift
    middle = a1 * b0 + ((a0 * b0) >> shift)
    other = a0 * b1 + (middle & low)
    high = a1 * b1 + (middle >> shift) + (other >> shift)
    if a.dtype.kind == "i":
        zero = np.uint64(0)
        high = high - np.where(a < 0, ub, zero) - np.where(b < 0, ua, zero)
    return high.view(a.dtype)


@instruction("mad")
def build_mad(frame: Frame, at: Instruction) -> Step:
    require(at, "lo", "hi", "wide", *_INTEGERS)
    dtype, product = DTYPES[at.type], _product(at)
    kind = at.type
    if "wide" in at.modifiers:
        kind = at.type[0] + str(dtype.itemsize * 16)
    write = frame.writer(at.operands[0], at)
    a, b = (frame.reader(operand, at.type, at) for operand in at.operands[1:3])
    c = frame.reader(at.operands[3], kind, at)
    return lambda lanes: write(lanes, product(a(lanes), b(lanes)) + c(lanes))


@instruction("fma")
def build_fma(frame: Frame, at: Instruction) -> Step:
    require(at, "rn", *_FLOATS)
    write = frame.writer(at.operands[0], at)
    a, b, c = (frame.reader(operand, at.type, at) for operand in at.operands[1:4])
    fma = floats.fma32 if at.type == "f32" else floats.fma64
    return lambda lanes: write(lanes, fma(a(lanes), b(lanes), c(lanes)))


@instruction("div", "rem")
def build_div(frame: Frame, at: Instruction) -> Step:
    require(at, "rn", *_INTEGERS, *_FLOATS)  # .approx and .full have no bits of their own
    if at.type in _FLOATS:
        if at.opcode == "rem" or "rn" not in at.modifiers:
            raise unsupported(at)
        return binary(frame, at, at.type, np.divide)
    divide = at.opcode == "div"
    return binary(frame, at, at.type, lambda a, b: _divide(a, b, divide))


def _divide(a: np.ndarray, b: np.ndarray, quotient: bool) -> np.ndarray:
    """Truncates the quotient; by zero it is all ones, and the remainder a, as on the device."""
    dtype = a.dtype
    unsigned = np.dtype(f"u{dtype.itemsize}")
    negative_a, negative_b = a < 0, b < 0
    # Magnitudes are unsigned numbers, so that the most negative number has one.
    ua = np.where(negative_a, -a, a).astype(unsigned)
    ub = np.where(negative_b, -b, b).astype(unsigned)
    safe = np.where(ub == 0, unsigned.type(1), ub)
    if quotient:
        value = (ua // safe).astype(dtype)
        value = np.where(negative_a != negative_b, -value, value)
        return np.where(ub == 0, np.invert(np.zeros(1, dtype)), value)
    value = (ua % safe).astype(dtype)
    value = np.where(negative_a, -value, value)
    return np.where(ub == 0, a, value)


@instruction("sqrt", "rcp")
def build_sqrt(frame: Frame, at: Instruction) -> Step:
    require(at, "rn", *_FLOATS)
    if "rn" not in at.modifiers:
        raise unsupported(at)
    one = DTYPES[at.type].type(1)
    return unary(frame, at, at.type, np.sqrt if at.opcode == "sqrt" else lambda a: one / a)


@instruction("neg", "abs")
def build_neg(frame: Frame, at: Instruction) -> Step:
    require(at, "s16", "s32", "s64", *_FLOATS)
    return unary(frame, at, at.type, np.negative if at.opcode == "neg" else np.abs)


@instruction("min", "max")
def build_min(frame: Frame, at: Instruction) -> Step:
    require(at, "NaN", *_INTEGERS, *_FLOATS)
    if at.type in _FLOATS:
        choose = floats.minimum if at.opcode == "min" else floats.maximum
        nan = "NaN" in at.modifiers
        return binary(frame, at, at.type, lambda a, b: choose(a, b, nan))
    return binary(frame, at, at.type, np.minimum if at.opcode == "min" else np.maximum)


@instruction("copysign")
def build_copysign(frame: Frame, at: Instruction) -> Step:
    require(at, *_FLOATS)
    # PTX names the sign first.
    return binary(frame, at, at.type, lambda sign, magnitude: np.copysign(magnitude, sign))


@instruction("sad")
def build_sad(frame: Frame, at: Instruction) -> Step:
    require(at, *_INTEGERS)
    write = frame.writer(at.operands[0], at)
    a, b, c = (frame.reader(operand, at.type, at) for operand in at.operands[1:4])
    return lambda lanes: write(
        lanes, np.maximum(a(lanes), b(lanes)) - np.minimum(a(lanes), b(lanes)) + c(lanes)
    )


@instruction("testp")
def build_testp(frame: Frame, at: Instruction) -> Step:
    tests = {
        "finite": np.isfinite,
        "infinite": np.isinf,
        "notanumber": np.isnan,
        "number": lambda a: ~np.isnan(a),
    }
    if at.modifiers[0] not in tests:
        raise unsupported(at)
    return unary(frame, at, at.type, tests[at.modifiers[0]])
