"""One line per kernel: what it takes, and how many threads of an SM that leaves room for.

python tools/sass/report.py csrc/cuda/langevin_step.cu
python tools/sass/report.py --arch sm_80 build/langevin_step.cu.o
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sass import Kernel, ToolMissing, kernels_of

_HEAD = ["registers", "block", "threads/SM", "shared", "stack", "spills", "local", "instructions"]
_NAMESPACES = re.compile(r"(?:\(anonymous namespace\)::|\w+::)+")


def table(kernels: list[Kernel]) -> str:
    rows = [[*_HEAD, "kernel"], *sorted(map(_row, kernels), key=lambda row: row[-1])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    return "\n".join(
        "  ".join([*(cell.rjust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    )


def _row(kernel: Kernel) -> list[str]:
    taken = kernel.resources
    spills = "?" if taken.spill_stores is None else f"{taken.spill_stores}+{taken.spill_loads}"
    threads = taken.threads_per_sm(kernel.block)
    figures = [taken.registers, kernel.block, threads, taken.shared, taken.stack, spills]
    name = _NAMESPACES.sub("", kernel.name)
    return [*map(str, [*figures, len(kernel.local_memory), kernel.length]), name]


def main() -> None:
    parser = argparse.ArgumentParser(description="What ptxas made of the kernels of a file.")
    parser.add_argument("files", nargs="+", help="CUDA sources, objects or cubins")
    parser.add_argument("--arch", default="sm_90")
    arguments = parser.parse_args()
    try:
        kernels = [k for file in arguments.files for k in kernels_of(file, arguments.arch)]
    except (ToolMissing, RuntimeError) as error:
        raise SystemExit(str(error)) from None
    print(table(kernels))


if __name__ == "__main__":
    main()
