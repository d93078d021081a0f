"""What a step of score matching costs, with and without finite differences: time, the bytes that
autograd keeps, and the resident memory at its peak.

    python -m experiments.score_matching.cost fd_ssm  # bytes of peak memory, of this process only

Random inputs, a residual network of the source's kind; a step is the loss, its gradient and Adam.
"""

from __future__ import annotations

import dataclasses
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import torch
from torch import Tensor, nn

import effebm_ext as eff
from effebm_ext import losses
from effebm_ext.energies import score_of
from effebm_ext.networks import make_energy
from experiments.common.records import Row

ROOT = Path(__file__).parents[2]
PAIRS = {"fd_ssm": "ssm", "fd_dsm": "dsm"}  # finite differences, and what they stand for
METHODS = ("ssm", "fd_ssm", "dsm", "fd_dsm")
Clock = Callable[[], float]
ALL = ("dsm", "fd_dsm", "fd_dsm*", "ssm", "ssm_vr", "fd_ssm", "fd_ssm*")


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes of the problem; ``depth`` is the network's as ``effebm train --depth`` has it."""

    energy: str = "resnet"
    shape: tuple[int, int, int] = (3, 32, 32)
    width: int = 128
    depth: int = 2
    batch: int = 32
    repeats: int = 7


QUICK = Scale(shape=(1, 8, 8), width=8, depth=1, batch=4, repeats=2)
SCALES = {
    "full": Scale(),
    "quick": QUICK,
    "mnist": Scale("conv", (1, 28, 28), width=8, depth=4, batch=64, repeats=9),
}


def loss_of(method: str, energy: nn.Module, x: Tensor, rng: eff.Key) -> Tensor:
    """Of one of ALL. A ``*`` says that finite differences evaluate their points one after the
    other, and once more in the backward pass, and not in one batch."""
    if method == "ssm":
        return losses.ssm(score_of(energy), x, rng=rng).loss
    if method == "ssm_vr":
        return losses.ssm_vr(score_of(energy), x, rng=rng).loss
    if method == "dsm":
        return losses.dsm(score_of(energy), x, 0.3, rng=rng).loss
    together = not method.endswith("*")
    if method.startswith("fd_ssm"):
        return losses.fd_ssm(energy, x, 0.1, rng=rng, concatenated=together).loss
    return losses.fd_dsm(energy, x, 0.3, 0.1, rng=rng, concatenated=together).loss


def problem(scale: Scale) -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        energy = make_energy(scale.energy, scale.shape, width=scale.width, depth=scale.depth)
        return energy, torch.randn(scale.batch, *scale.shape)


def stepper(method: str, energy: nn.Module, x: Tensor) -> Callable[[], None]:
    """One training step at every call."""
    optimizer = torch.optim.Adam(energy.parameters(), lr=1e-5, betas=(0.9, 0.95))
    keys = (eff.Key(0, i) for i in range(2**30))

    def step() -> None:
        optimizer.zero_grad()
        loss_of(method, energy, x, next(keys)).backward()
        optimizer.step()

    return step


def kept_bytes(method: str, energy: nn.Module, x: Tensor) -> int:
    """Of all storages that autograd keeps for the backward pass, but for the parameters."""
    parameters = {p.untyped_storage().data_ptr() for p in energy.parameters()}
    kept: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = loss_of(method, energy, x, eff.Key(0))
    found = sum(kept.values())
    loss.backward()  # only now may a storage be given up, and its address be used again
    return found


def seconds(scale: Scale, methods: Sequence[str], clock: Clock) -> dict[str, float]:
    """Median of a step; the methods take turns, so that all share what disturbs them."""
    steps = {method: stepper(method, *problem(scale)) for method in methods}
    taken: dict[str, list[float]] = {method: [] for method in methods}
    for _ in range(scale.repeats + 1):
        for method, step in steps.items():
            begin = clock()
            step()
            taken[method].append(clock() - begin)
    return {method: statistics.median(times[1:]) for method, times in taken.items()}


def peak_bytes(method: str, scale: str) -> int:
    """Resident memory beyond network, data and optimiser, in a process of its own."""
    command = [sys.executable, "-m", __spec__.name, method, "--scale", scale]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


def measure(name: str, methods: Sequence[str], clock: Clock = time.perf_counter) -> list[Row]:
    """A row for each method, at the scale of this name, by a clock that counts seconds."""
    scale = SCALES[name]
    times = seconds(scale, methods, clock)
    return [
        {
            "method": method,
            "seconds": times[method],
            "kept_bytes": kept_bytes(method, *problem(scale)),
            "peak_bytes": peak_bytes(method, name),
        }
        for method in methods
    ]


def ratios(rows: list[Row]) -> list[Row]:
    """How many times less finite differences take."""
    by = {row["method"]: row for row in rows}
    names = ("seconds", "kept_bytes", "peak_bytes")
    return [
        {"pair": f"{exact} -> {finite}"} | {n: by[exact][n] / by[finite][n] for n in names}
        for finite, exact in PAIRS.items()
    ]


def _resident(what: str) -> int:
    """Bytes, from the kernel's account of this process."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("method", type=click.Choice(ALL))
@click.option(
    "--scale", type=click.Choice(list(SCALES)), default="full", help="size of the problem"
)
def main(method: str, scale: str) -> None:
    """Print the peak memory of steps of METHOD, in bytes."""
    energy, x = problem(SCALES[scale])
    stepper(method, energy, x[:1])()  # what libraries and optimiser set up at their first call
    step = stepper(method, energy, x)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    for _ in range(2):
        step()
    click.echo(max(1, _resident("VmHWM") - before))


if __name__ == "__main__":
    main()
