"""What ptxas made of the CUDA kernels: registers, spills, and instructions on a path."""

from .binary import Kernel, find, kernels_of
from .flow import FlowError
from .instructions import Instruction, parse_dump
from .path import Path, shortest_path
from .resources import Resources
from .toolkit import ToolMissing, find_cuobjdump, find_nvcc

__all__ = [
    "FlowError", "Instruction", "Kernel", "Path", "Resources", "ToolMissing", "find",
    "find_cuobjdump", "find_nvcc", "kernels_of", "parse_dump", "shortest_path",
]  # fmt: skip
