"""Executes the PTX that nvcc emits with NumPy, one array element per CUDA thread."""

from .compiler import compile_ptx, find_nvcc
from .counters import Counters, Traffic
from .memory import device_array, device_copy
from .module import Kernel, Module, launch, load
from .syntax import PtxError

__all__ = [
    "Counters", "Kernel", "Module", "PtxError", "Traffic", "compile_ptx", "device_array",
    "device_copy", "find_nvcc", "launch", "load",
]  # fmt: skip
