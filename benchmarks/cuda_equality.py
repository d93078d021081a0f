"""Random cases of every op on the CPU and on a GPU: the bits must be equal.

    python benchmarks/cuda_equality.py --seconds 60

Each case is drawn from its number alone, so that one which differs can be run again:
``--first 1234 --cases 1``.
"""

from __future__ import annotations

import dataclasses
import random
import sys
import time
from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import Any

import click
import torch

import effebm_ext as eff
from effebm_ext.ops.compressor import FusedCompressor

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# One thread, one tile, several; around the widths of warps, sums and tiles, and of the rows that a
# thread block holds in registers; larger than any cache.
DIMS = (1, 3, 31, 32, 33, 64, 255, 256, 512, 516, 1023, 1024, 1025, 3072, 4099, 8192, 8196, 12_288,
        16_384, 16_385, 50_000, 100_003, 440_000, 800_001, 1_000_000)  # fmt: skip
OPS = ("compress", "compress", "langevin_step", "langevin_step_", "perturbed_pair")
VALUES = ("normal", "ties", "special", "equal", "tiny")
Results = list[torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Case:
    number: int
    op: str
    dtype: torch.dtype
    rows: int
    dim: int
    values: str
    compressor: FusedCompressor | None
    options: dict[str, Any]

    def __str__(self) -> str:
        return (
            f"case {self.number}: {self.op} of {self.values} {self.dtype} "
            f"{self.rows}x{self.dim}, {self.compressor}, {self.options}"
        )


def random_case(number: int, max_elements: int) -> Case:
    draw = random.Random(number)
    dim = draw.choice([d for d in DIMS if d <= max_elements])
    rows = draw.choice([r for r in (1, 2, 7, 64, 1000) if r * dim <= max_elements])
    k = draw.choice([0, 1, dim // 100, dim // 10, dim // 2, dim - 1, dim])
    block_size = draw.choice([1, 7, 32, 64, 1000, 1024, 5000, dim])
    op = draw.choice(OPS)
    compressor: FusedCompressor | None = draw.choice([
        *[eff.TopK(k), eff.BlockSign(block_size)] * 2, eff.RandomK(k),
        eff.RandomK(k, unbiased=False), eff.RandomBlock(k),
        eff.NaturalCompression(draw.choice([0, 3, 22])),
        *[None] * (2 if op != "compress" else 0),
    ])  # fmt: skip
    options: dict[str, Any] = {
        "noise_std": draw.choice([None, 0.0, 0.7]),
        "clip": draw.choice([None, eff.ClipValue(0.9), eff.ClipNorm(5.0)]),
        "bounds": draw.choice([None, (-1.0, 1.1), eff.Reflect(-0.9, 1.2)]),
        "rng": eff.Key(draw.getrandbits(64), draw.getrandbits(50), draw.getrandbits(31)),
    }
    dtype, values = draw.choice(DTYPES), draw.choice(VALUES)
    moves_all = compressor is None or not compressor.moves_kept
    options["averaged_noise"] = moves_all and draw.random() < 0.3
    options["step_size"] = draw.choice([0.3, 0.3, "shared by chains", "of each element"])
    return Case(number, op, dtype, rows, dim, values, compressor, options)


def make_values(kind: str, shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    if kind == "ties":
        return normal.round()
    if kind == "special":
        special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1e-40, 3e38, 1.0])
        chosen = special[torch.randint(len(special), shape, generator=generator)].double()
        return torch.where(normal > 1, chosen, normal)
    if kind == "equal":
        return torch.full(shape, -1.5, dtype=torch.float64)
    return normal * 1e-39 if kind == "tiny" else normal


def results(case: Case, device: str | torch.device) -> Results:
    """What the op wrote, and its relatives that return sums too, on the CPU."""
    generator = torch.Generator().manual_seed(case.number)
    shape = (case.rows, case.dim)
    x, delta = (torch.randn(shape, generator=generator).to(case.dtype) for _ in range(2))
    grad = make_values(case.values, shape, generator).to(case.dtype)
    x, grad, delta = (t.to(device) for t in (x, grad, delta))
    delta = delta.to(torch.float64 if case.dtype == torch.float64 else torch.float32)
    options = {"compressor": case.compressor, **case.options}
    step_size = options.pop("step_size")
    if step_size != 0.3:
        step_size = delta.abs() if step_size == "of each element" else delta[:1].abs()
    if case.op == "compress":
        assert case.compressor is not None
        rng: eff.Key = case.options["rng"]
        drift = eff.drift(grad, compressor=case.compressor, delta=delta, rng=rng)
        return [t.cpu() for t in (case.compressor.compress(grad, rng=rng), *drift)]
    if case.op == "langevin_step":
        moved = eff.langevin_step(x, grad, step_size, **options)
        return [t.cpu() for t in (moved, *eff.langevin_transition(x, grad, step_size, **options))]
    if case.op == "perturbed_pair":
        noise = {"noise_std": case.options["noise_std"] or 0.0, "rng": case.options["rng"]}
        return [t.cpu() for t in eff.perturbed_pair(grad, 0.3, **noise)]
    feeds_back = case.compressor is not None and case.compressor.shrinks and case.number % 2
    residual = delta if feeds_back else None
    eff.langevin_step_(x, grad, step_size, residual=residual, **options)
    return [t.cpu() for t in (x, residual) if t is not None]


def same_bits(got: torch.Tensor, want: torch.Tensor) -> bool:
    """Equal bits; any NaN equals any NaN."""
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[want.element_size()]
    nan = want.isnan()
    equal = got.view(integer) == want.view(integer)
    return bool((got.isnan() == nan).all()) and bool((equal | nan).all())


def count_differing(
    numbers: Iterable[int], max_elements: int, results_on_device: Callable[[Case], Results]
) -> int:
    """Says which cases differ from the CPU, and how many did."""
    cases = differing = 0
    for number in numbers:
        case = random_case(number, max_elements)
        try:
            pairs = zip(results_on_device(case), results(case, "cpu"), strict=True)
        except RuntimeError:  # after which a device may be unable to go on
            print(f"FAILS: {case}", flush=True)
            raise
        if not all(same_bits(got, want) for got, want in pairs):
            differing += 1
            print(f"DIFFERS: {case}", flush=True)
        cases += 1
    print(f"{cases} cases, {differing} differ")
    return differing


@click.command()
@click.option("--seconds", default=60.0, help="Stop after this time.")
@click.option("--cases", default=10**9, help="Stop after so many cases.")
@click.option("--first", default=0, help="Number of the first case.")
@click.option("--max-elements", default=1 << 22, help="Of the largest tensor.")
def main(seconds: float, cases: int, first: int, max_elements: int) -> None:
    """Compares CPU and CUDA over random cases; exits with 1 if any bit differs."""
    end = time.monotonic() + seconds
    numbers = takewhile(lambda _: time.monotonic() < end, range(first, first + cases))
    sys.exit(count_differing(numbers, max_elements, lambda case: results(case, "cuda")) > 0)


if __name__ == "__main__":
    main()
