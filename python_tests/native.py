"""The library of the tests: the numerical core over NumPy arrays, and the CUDA kernels under the
emulator. CMake builds it; the library that is shipped has neither."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from pathlib import Path

import numpy as np

from effebm_ext import _C

LIBRARY = Path(
    os.environ.get(
        "EFFEBM_EMULATED_KERNELS",
        Path(__file__).parents[1] / "build" / "cmake" / "libeffebm_emulated.so",
    )
)


@functools.cache
def library() -> ctypes.CDLL:
    if not LIBRARY.exists():
        raise FileNotFoundError(
            f"the library of the tests is not built: make test-library ({LIBRARY})"
        )
    return ctypes.CDLL(str(LIBRARY))


@contextlib.contextmanager
def emulated_kernels():
    """CPU tensors are computed by the CUDA kernels under the emulator."""
    kernels = library().effebm_emulated_kernels
    kernels.restype = ctypes.c_void_p
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule = address(_C.register_kernels, b"effebm_ext._C.register_kernels")
    register = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p)(capsule)
    register(_CPU, kernels())
    try:
        yield
    finally:
        register(_CPU, None)


def philox4x32_10(counter, key):
    """Random words uint32 (n, 4) for counters uint32 (n, 4) and a key of two words."""
    counter = _array(counter, np.uint32)
    if counter.ndim != 2 or counter.shape[1] != 4:
        raise ValueError("counter: expected shape (n, 4)")
    out = np.empty_like(counter)
    library().effebm_philox4x32_10(
        _at(counter), _size(len(out)), _at(_array(key, np.uint32)), _at(out)
    )
    return out


def box_muller(words):
    """Two normals float32 (n, 2) from two random words uint32 (n, 2)."""
    words = _array(words, np.uint32)
    if words.ndim != 2 or words.shape[1] != 2:
        raise ValueError("words: expected shape (n, 2)")
    out = np.empty(words.shape, np.float32)
    library().effebm_box_muller(_at(words), _size(len(out)), _at(out))
    return out


def normals(rows, dim, seed, offset=0, first_chain=0):
    """The noise float32 (rows, dim) that a Langevin step with this key adds, times noise_std."""
    if rows < 0 or dim < 0:
        raise ValueError("rows, dim: expected at least 0")
    out = np.empty((rows, dim), np.float32)
    library().effebm_normals(*map(_size, (rows, dim, seed, offset, first_chain)), _at(out))
    return out


def canonical_sum(terms):
    """Sum of float32 or float64 (n,) in the order of the numerical contract."""
    terms = _array(terms, terms.dtype)
    if terms.ndim != 1:
        raise ValueError("terms: expected one dimension")
    function = getattr(library(), f"effebm_canonical_sum_{terms.dtype}")
    function.restype = ctypes.c_float if terms.dtype == np.float32 else ctypes.c_double
    return function(_at(terms), _size(terms.size))


def order_keys(x):
    """The integers by which Top-k compares magnitudes, for float32 or float64 (n,)."""
    x = _array(x, x.dtype)
    keys = np.empty(x.shape, np.uint32 if x.dtype == np.float32 else np.uint64)
    getattr(library(), f"effebm_order_keys_{x.dtype}")(_at(x), _size(x.size), _at(keys))
    return keys


_CPU = 0  # effebm::ops::Backend::cpu
_size = ctypes.c_int64


def _array(values, dtype):
    return np.ascontiguousarray(values, dtype)


def _at(array):
    return array.ctypes.data_as(ctypes.c_void_p)
