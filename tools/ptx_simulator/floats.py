"""Floating-point operations whose bits NumPy does not give directly."""

from __future__ import annotations

import ctypes
import ctypes.util

import numpy as np

_libm = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
_libm.fma.argtypes = [ctypes.c_double] * 3
_libm.fma.restype = ctypes.c_double
_fma64 = np.frompyfunc(_libm.fma, 3, 1)


def fma32(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Returns a * b + c of float32, rounded once."""
    # The product is exact in float64. The sum is rounded there to odd, which keeps the second
    # rounding, to float32, from seeing a tie or a carry that is not there.
    product = a.astype(np.float64) * b.astype(np.float64)
    addend = c.astype(np.float64)
    total = np.atleast_1d(product + addend)
    part = total - product
    error = (product - (total - part)) + (addend - part)
    bits = total.view(np.int64)
    odd = np.where((error > 0) == (total > 0), bits | 1, (bits - 1) | 1)
    inexact = (error != 0) & np.isfinite(error)
    return np.where(inexact, odd, bits).view(np.float64).astype(np.float32)


def fma64(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Returns a * b + c of float64, rounded once, by libm one element at a time."""
    return np.atleast_1d(_fma64(a, b, c)).astype(np.float64)


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """Rounds float32 to the bits of bfloat16, nearest even; NaN becomes 0x7FFF as on the device."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + np.uint64(0x7FFF) + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)
    return np.where(np.isnan(x), np.uint16(0x7FFF), rounded.astype(np.uint16))


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def minimum(a: np.ndarray, b: np.ndarray, propagate_nan: bool) -> np.ndarray:
    """Returns PTX's min: -0 is below +0; one NaN gives the other operand unless asked for NaN."""
    zero_tie = np.where(np.signbit(a), a, b)
    return _pick(np.fmin(a, b), zero_tie, a, b, propagate_nan)


def maximum(a: np.ndarray, b: np.ndarray, propagate_nan: bool) -> np.ndarray:
    zero_tie = np.where(np.signbit(a), b, a)
    return _pick(np.fmax(a, b), zero_tie, a, b, propagate_nan)


def _pick(
    value: np.ndarray, zero_tie: np.ndarray, a: np.ndarray, b: np.ndarray, propagate_nan: bool
) -> np.ndarray:
    value = np.where((a == 0) & (b == 0), zero_tie, value)
    nan = np.isnan(a) | np.isnan(b) if propagate_nan else np.isnan(a) & np.isnan(b)
    return np.where(nan, canonical_nan(value.dtype), value)


def canonical_nan(dtype: np.dtype) -> np.generic:
    """Returns the NaN that the device's arithmetic returns."""
    bits = {2: np.uint16(0x7FFF), 4: np.uint32(0x7FFFFFFF), 8: np.uint64(0x7FF8 << 48)}
    return bits[dtype.itemsize].view(dtype)


ROUND_TO_INTEGER = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


def to_integer(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Converts an integral float to an integer: out of range saturates, NaN gives 0."""
    info = np.iinfo(dtype)
    wide = x.astype(np.float64)
    low, high = float(info.min), float(info.max) + (1 if dtype.itemsize < 8 else 0)
    inside = (wide >= low) & (wide < high)
    result = np.where(inside, wide, 0).astype(dtype)
    result = np.where(wide >= high, dtype.type(info.max), result)
    return np.where(wide < low, dtype.type(info.min), result)
