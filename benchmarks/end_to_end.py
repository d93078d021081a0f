"""The whole step of a chain and the whole training iteration, beside the peers.

    pip install 'effebm_ext[peers]'
    python benchmarks/end_to_end.py --shards 2 --output end-to-end.json

Every case is a network, a number of chains and a number of steps, the same for all arms. All arms
first sample a Gaussian, whose mean and variance under steps of this size are known; nothing
is timed if an arm misses them. Then the arms take turns, with every number of torch's threads. The
result is an arm's median time per Langevin step (or per iteration and step) at its best number of
threads, and its ratio to the best arm of this library. ``--busy N`` does
the same beside processes that keep N cores busy.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import torch
from busy_machine import neighbours
from environment import environment
from over_cases import threads_of
from peers import STEP_SIZE, Sample, iterations, samplers
from torch import Tensor, nn

from effebm_ext.networks import ConvEnergy, MLPEnergy, ResNetEnergy

Work = Callable[[], object]
_DTYPES = {"none": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Case(NamedTuple):
    make: Callable[[], nn.Module]
    chains: int
    event: tuple[int, ...]
    steps: int


CASES = {
    "toy, MLP 512 x 2": Case(lambda: MLPEnergy((2,)), 512, (2,), 20),
    "digits, conv 128 x 1 x 8 x 8": Case(lambda: ConvEnergy((1, 8, 8)), 128, (1, 8, 8), 20),
    "images, conv 64 x 3 x 32 x 32": Case(lambda: ConvEnergy((3, 32, 32)), 64, (3, 32, 32), 4),
    "images, ResNet 32 x 3 x 32 x 32": Case(
        lambda: ResNetEnergy((3, 32, 32), width=64), 32, (3, 32, 32), 2
    ),
}


class HalfSquares(nn.Module):
    """The energy of a standard normal."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square().flatten(1).sum(1) / 2


def check_law(name: str, sample: Sample) -> None:
    """Refuses an arm whose chains do not go to a standard normal as fast as Langevin steps of this
    size, or do not have their variance there."""
    n, d, start, few = 200, 16, 3.0, 50
    share = 1 - STEP_SIZE / 2  # of the mean, from step to step
    variance = 1 / (1 - STEP_SIZE / 4)
    x = sample(HalfSquares(), torch.full((n, d), start), few)
    error = math.sqrt(variance * (1 - share ** (2 * few)) / (n * d))
    _check(name, "mean", float(x.mean()), start * share**few, error)
    x = sample(HalfSquares(), torch.randn(n, d), round(8 / STEP_SIZE))
    _check(name, "variance", float(x.var()), variance, variance * math.sqrt(2 / (n * d)))


def _check(name: str, what: str, found: float, expected: float, error: float) -> None:
    if not abs(found - expected) < 5 * error:
        raise click.ClickException(
            f"{name}: expected a {what} of {expected:.3f} +- {error:.3f}, got {found:.3f}"
        )


def interleaved(works: dict[tuple[str, int], Work], seconds: float) -> dict[tuple[str, int], float]:
    """Returns the median seconds of each work; all take turns until each has had ``seconds``."""
    for (_, threads), work in works.items():
        with threads_of(threads):
            work()  # compiles, and allocates what is kept
            work()
    samples: dict[tuple[str, int], list[float]] = {key: [] for key in works}
    deadline = time.perf_counter() + seconds * len(works)
    while time.perf_counter() < deadline or len(samples[next(iter(works))]) < 5:
        for key, work in works.items():
            with threads_of(key[1]):
                start = time.perf_counter()
                work()
                samples[key].append(time.perf_counter() - start)
    return {key: statistics.median(values) for key, values in samples.items()}


def sampling_works(case: Case, arms: dict[str, Sample], threads: list[int]) -> dict:
    torch.manual_seed(0)
    network, x = case.make(), torch.randn(case.chains, *case.event)
    return {
        (name, n): lambda arm=arm: arm(network, x, case.steps)
        for name, arm in arms.items()
        for n in (threads if "shards" not in name else threads[-1:])
    }


def training_works(case: Case, shards: int, threads: list[int]) -> dict:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return case.make()

    data = torch.randn(case.chains, *case.event)
    works = {}
    for n in threads:
        for name, work in iterations(make, data, case.steps, shards).items():
            if "shards" not in name or n == threads[-1]:
                works[name, n] = work
    return works


def summary(case: Case, seconds: dict[tuple[str, int], float]) -> dict[str, dict[str, float]]:
    """Returns milliseconds per step and the best number of threads of every arm, and how many times
    an arm of this library is faster than it."""
    best: dict[str, dict[str, float]] = {}
    for (name, n), value in seconds.items():
        ms = value / case.steps * 1e3
        if name not in best or ms < best[name]["ms"]:
            best[name] = {"ms": ms, "threads": n}
    fastest = min(found["ms"] for name, found in best.items() if name.startswith("ours"))
    for found in best.values():
        found["over_ours"] = found["ms"] / fastest
    return best


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--cases", default="", help="only cases whose names contain one of these words")
@click.option("--shards", default=2, show_default=True)
@click.option("--threads", default="1,2", show_default=True, help="torch's threads to try")
@click.option("--seconds", default=5.0, show_default=True, help="per arm and number of threads")
@click.option("--busy", default=0, show_default=True, help="processes that keep a core busy each")
@click.option("--compiled/--no-compiled", default=True, show_default=True)
@click.option("--gradient-dtype", type=click.Choice(list(_DTYPES)), default="none")
@click.option("--training/--no-training", default=True, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="a JSON file for the results")
def main(
    cases: str,
    shards: int,
    threads: str,
    seconds: float,
    busy: int,
    compiled: bool,
    gradient_dtype: str,
    training: bool,
    output: Path | None,
) -> None:
    """Time whole steps and whole training iterations beside the peers."""
    counts = [int(n) for n in threads.split(",")]
    words = [word for word in cases.split(",") if word]
    chosen = {
        name: case
        for name, case in CASES.items()
        if not words or any(word in name for word in words)
    }
    arms = samplers(shards, compiled=compiled, dtype=_DTYPES[gradient_dtype])
    for name, arm in arms.items():
        if "compiled" not in name and "float" not in name:  # these are other ways to the same steps
            check_law(name, arm)
    results: dict[str, object] = {"environment": environment("cpu"), "busy": busy}
    for name, case in chosen.items():
        works = {"step": sampling_works(case, arms, counts)}
        if training:
            works["iteration, per step"] = training_works(case, shards, counts)
        for what, to_time in works.items():
            with neighbours(busy):
                found = summary(case, interleaved(to_time, seconds))
            results[f"{name}: {what}"] = found
            click.echo(f"{name}: {what}")
            for arm, entry in found.items():
                click.echo(
                    f"  {arm:<26}{entry['ms']:9.3f} ms  {entry['threads']} threads  "
                    f"{entry['over_ours']:.2f} x ours"
                )
    if output is not None:
        output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
