"""Makes very many tiny steps in one process, whose memory must stay flat and whose chains must
keep their law.

    python python_tests/soak.py --steps 1000000

An object, a tensor or a piece of the heap that every step leaves behind shows as growth. The target
is a standard normal distribution.
"""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import effebm_ext as eff

N_CHAINS, DIM, STEP_SIZE = 8, 16, 0.05
MOST_GROWTH = 1 << 20  # bytes; one object of 32 bytes per step is 30 times this in 10^6 steps
MOMENTS = (0.95, 1.1)  # that mean x^2 may have; steps of a finite size are a little too wide


class Soaked(NamedTuple):
    """``growth``: by how many bytes the resident memory grew after the first tenth of the steps;
    ``second_moment``: the mean of x^2 over the other nine tenths."""

    growth: int
    second_moment: float


Step = Callable[[], Tensor]  # moves chains in place and returns them


def op() -> Step:
    """The op with Top-k and error feedback."""
    generator, compressor = torch.Generator().manual_seed(0), eff.TopK(ratio=0.25)
    x, residual = torch.randn(N_CHAINS, DIM), torch.zeros(N_CHAINS, DIM)

    def step() -> Tensor:
        grad = x.clone()
        return eff.langevin_step_(
            x, grad, STEP_SIZE, compressor=compressor, residual=residual, rng=generator
        )

    return step


def langevin() -> Step:
    """The sampler with Block-Sign and error feedback, and gradients from autograd."""
    return steps_of(
        eff.Langevin(
            energy, step_size=STEP_SIZE, compressor=eff.BlockSign(DIM), error_feedback=True
        )
    )


def mala() -> Step:
    """Random blocks, accepted or rejected."""
    return steps_of(eff.MALA(energy, step_size=STEP_SIZE, compressor=eff.RandomBlock(ratio=0.5)))


def steps_of(sampler: eff.Langevin | eff.MALA) -> Step:
    state = sampler.init(torch.randn(N_CHAINS, DIM), rng=eff.Key(0))

    def step() -> Tensor:
        sampler.advance_(state)
        return state.x

    return step


def energy(x: Tensor) -> Tensor:
    return x.square().sum(1) / 2


KINDS: dict[str, Callable[[], Step]] = {"op": op, "Langevin": langevin, "MALA": mala}


def soak(step: Step, n_steps: int) -> Soaked:
    """Makes ``n_steps`` steps."""
    first = n_steps // 10
    _sum_of_moments(step, first)
    before = resident()
    total = _sum_of_moments(step, n_steps - first)
    return Soaked(resident() - before, total / (n_steps - first))


def _sum_of_moments(step: Step, n_steps: int) -> float:
    total = torch.zeros((), dtype=torch.float64)
    for _ in range(n_steps):
        total += step().square().mean()
    return float(total)


def resident() -> int:
    """Bytes of this process in memory, without what Python has yet to free."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000, help="of each kind")
    n_steps = parser.parse_args().steps
    torch.set_num_threads(1)
    for kind, make in KINDS.items():
        torch.manual_seed(0)
        growth, moment = soak(make(), n_steps)
        print(f"{kind}: {n_steps} steps, {growth / 1024:.0f} KiB more, mean x^2 {moment:.3f}")
        assert growth < MOST_GROWTH, f"{kind} leaves memory behind"
        assert MOMENTS[0] < moment < MOMENTS[1], f"{kind} lost its law"


if __name__ == "__main__":
    main()
