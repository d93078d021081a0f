"""The kernels of a source or of an object file."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .instructions import Instruction, parse_dump
from .resources import Resources, parse_launch_bounds, parse_ptxas, parse_usage
from .toolkit import compile_cubin, demangle, dump

_ANY_BLOCK = 1024  # what a kernel without launch bounds must be able to run with


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One kernel for one architecture."""

    name: str  # demangled, without its parameters
    block: int  # the most threads of a block
    resources: Resources
    body: Sequence[Instruction]

    @property
    def length(self) -> int:
        """The instructions of all paths together."""
        return sum(not at.is_padding for at in self.body)

    @property
    def local_memory(self) -> list[Instruction]:
        """The loads and stores of local memory, wherever they are."""
        return [at for at in self.body if at.matches("LDL") or at.matches("STL")]


def kernels_of(file: str | Path, arch: str = "sm_90") -> list[Kernel]:
    """Compiles a ``.cu`` with the flags of the build, or takes an object file or cubin."""
    file = Path(file)
    if file.suffix != ".cu":
        usage = dump(file, "--dump-resource-usage", f"--gpu-architecture={arch}")
        return _kernels(file, arch, parse_usage(usage))
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernels.cubin"
        return _kernels(cubin, arch, parse_ptxas(compile_cubin(file, cubin, arch)))


def _kernels(file: Path, arch: str, resources: dict[str, Resources]) -> list[Kernel]:
    only = f"--gpu-architecture={arch}"
    bodies = parse_dump(dump(file, "--dump-sass", only))
    blocks = parse_launch_bounds(dump(file, "--dump-elf", only))
    names = demangle(list(resources))
    return [
        Kernel(without_parameters(names[mangled]), blocks.get(mangled, _ANY_BLOCK), taken,
               bodies[mangled])
        for mangled, taken in resources.items()
    ]  # fmt: skip


def without_parameters(name: str) -> str:
    """``void f<int>(float*, long)`` as ``f<int>``; the parameters are the last parentheses."""
    if not name.endswith(")"):
        return name
    depth = 0
    for i in range(len(name) - 1, -1, -1):
        depth += (name[i] == ")") - (name[i] == "(")
        if depth == 0:
            return name[:i].removeprefix("void ")
    return name


def find(kernels: Sequence[Kernel], *parts: str) -> Kernel:
    """The only kernel whose name has all the parts."""
    found = [k for k in kernels if all(part in k.name for part in parts)]
    if len(found) != 1:
        raise LookupError(f"{len(found)} kernels have {parts} in their names")
    return found[0]
