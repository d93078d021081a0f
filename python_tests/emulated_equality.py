"""Random cases of every op on the CPU and by the CUDA kernels under the emulator: the bits must be
equal. The cases are those of ``benchmarks/cuda_equality.py``, which compares with a GPU.

    python python_tests/emulated_equality.py --cases 10000
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from native import emulated_kernels

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import cuda_equality as sweep


def emulated(case: sweep.Case) -> sweep.Results:
    with emulated_kernels():
        return sweep.results(case, "cpu")


@click.command()
@click.option("--cases", default=10_000, help="How many cases.")
@click.option("--first", default=0, help="Number of the first case.")
@click.option("--max-elements", default=1 << 17, help="Of the largest tensor.")
def main(cases: int, first: int, max_elements: int) -> None:
    """Compares CPU and emulated CUDA over random cases; exits with 1 if any bit differs."""
    numbers = range(first, first + cases)
    sys.exit(sweep.count_differing(numbers, max_elements, emulated) > 0)


if __name__ == "__main__":
    main()
