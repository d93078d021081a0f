"""cvt between all integer and float types, with bfloat16 kept as its bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import floats
from .frame import Frame, Lanes
from .machine import Step, unsupported
from .registry import instruction, require
from .syntax import DTYPES, Instruction

_ROUNDINGS = ("rn", "rni", "rzi", "rmi", "rpi", "sat")
_PACKED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "bf16x2": floats.to_bfloat16,
    "f16x2": lambda a: a.astype(np.float16).view(np.uint16),
}


@instruction("cvt")
def build_cvt(frame: Frame, at: Instruction) -> Step:
    target, source = at.modifiers[-2:]
    if target not in DTYPES or source not in DTYPES or source in _PACKED:
        raise unsupported(at)
    require(at, target, source, *_ROUNDINGS)  # .ftz, .relu, .rz and the like are not implemented
    write = frame.writer(at.operands[0], at)
    if target in _PACKED:
        narrow = _PACKED[target]
        high, low = (frame.reader(operand, source, at) for operand in at.operands[1:3])

        def pack(lanes: Lanes) -> None:
            upper = narrow(high(lanes)).astype(np.uint32) << np.uint32(16)
            write(lanes, upper | narrow(low(lanes)))

        return pack
    read = frame.reader(at.operands[1], source, at)
    convert = _conversion(target, source, at)
    return lambda lanes: write(lanes, convert(read(lanes)))


def _conversion(target: str, source: str, at: Instruction) -> Callable[[np.ndarray], np.ndarray]:
    dtype, saturate = DTYPES[target], "sat" in at.modifiers
    if source == "bf16":
        if target == "bf16":
            return lambda a: a
        inner = (lambda a: a) if target == "f32" else _conversion(target, "f32", at)
        return lambda a: inner(floats.from_bfloat16(a))
    if target == "bf16":
        if source != "f32" or saturate:
            raise unsupported(at)
        return floats.to_bfloat16
    from_float, to_float = DTYPES[source].kind == "f", dtype.kind == "f"
    to_integral = next(
        (floats.ROUND_TO_INTEGER[m] for m in at.modifiers if m in floats.ROUND_TO_INTEGER), None
    )
    if not from_float:
        if to_float:
            # Every integer of 32 bits is a float64; larger ones overflow float16 anyway.
            return lambda a: (a.astype(np.float64) if target == "f16" else a).astype(dtype)
        return (lambda a: _saturate(a, dtype)) if saturate else (lambda a: a.astype(dtype))
    if not to_float:
        if to_integral is None:
            raise unsupported(at)
        return lambda a: floats.to_integer(to_integral(a), dtype)

    def between_floats(a: np.ndarray) -> np.ndarray:
        value = to_integral(a) if to_integral is not None else a
        value = value.astype(dtype)
        if saturate:
            value = np.where(value > 0, np.minimum(value, dtype.type(1)), dtype.type(0))
        return value

    return between_floats


def _saturate(a: np.ndarray, dtype: np.dtype) -> np.ndarray:
    info, own = np.iinfo(dtype), np.iinfo(a.dtype)
    low = a.dtype.type(max(info.min, own.min))
    high = a.dtype.type(min(info.max, own.max))
    return np.clip(a, low, high).astype(dtype)
