"""Times a step of MALA against a step of Langevin, which has the same energy and compressor.

python benchmarks/mala.py
python benchmarks/mala.py --shape 1024x784 --out runs/mala
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import options
import torch
from over_cases import save, threads_of
from torch import Tensor

import effebm_ext as eff

COMPRESSORS = (None, eff.TopK(ratio=0.1), eff.BlockSign(64))
STEPS = (1, 10)  # of a call
STEP_SIZE = 0.02
WIDTH = 64  # of the layers of the network


def gaussian(x: Tensor) -> Tensor:
    return 0.5 * x.square().sum(1)


def network(dim: int) -> Callable[[Tensor], Tensor]:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(dim, WIDTH), torch.nn.SiLU(), torch.nn.Linear(WIDTH, WIDTH)]
    return torch.nn.Sequential(*layers, torch.nn.SiLU(), torch.nn.Linear(WIDTH, 1))


def measure(
    name: str, energy: Callable[[Tensor], Tensor], x0: Tensor, rounds: int
) -> list[dict[str, Any]]:
    """Times both samplers in turn, for every compressor and length of a call."""
    found = []
    for compressor, n in itertools.product(COMPRESSORS, STEPS):
        samplers = [
            kind(energy, step_size=STEP_SIZE, compressor=compressor)
            for kind in (eff.Langevin, eff.MALA)
        ]
        states = [sampler.init(x0, rng=eff.Key(0)) for sampler in samplers]
        times: list[list[float]] = [[], []]
        for _ in range(rounds + 1):
            for sampler, state, seconds in zip(samplers, states, times, strict=True):
                start = time.perf_counter()
                sampler.advance_(state, n)
                seconds.append((time.perf_counter() - start) / n)
        langevin, mala = (statistics.median(seconds[1:]) * 1e6 for seconds in times)
        quickest_langevin, quickest_mala = (min(seconds[1:]) for seconds in times)
        found.append({
            "energy": name, "compressor": str(compressor), "steps": n,
            "langevin_us": langevin, "mala_us": mala, "ratio": mala / langevin,
            "ratio_of_quickest": quickest_mala / quickest_langevin,
        })  # fmt: skip
    return found


def line(result: dict[str, Any]) -> str:
    us = f"{result['mala_us']:.0f} us, Langevin {result['langevin_us']:.0f}"
    return (
        f"{result['energy']:>8} {result['compressor']:>28} {result['steps']:3d} steps a call: "
        f"{result['ratio']:.2f} ({us}); "
        f"quickest calls {result['ratio_of_quickest']:.2f}"
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--shape", default="128x64", help="ROWSxDIM")
@click.option("--rounds", default=400, help="of calls of each sampler")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="for mala.json")
def main(shape: str, rounds: int, out: Path | None) -> None:
    """Time steps of MALA in units of Langevin steps, on one thread of the CPU."""
    ((rows, dim),) = options.parse_shapes(shape)
    with threads_of(1):
        x0 = torch.randn(rows, dim, generator=torch.Generator().manual_seed(0))
        energies = {"gaussian": gaussian, "network": network(dim)}
        results = [r for name, e in energies.items() for r in measure(name, e, x0, rounds)]
    for result in results:
        click.echo(line(result))
    save(out, "mala", "cpu", {"shape": shape, "results": results})


if __name__ == "__main__":
    main()
