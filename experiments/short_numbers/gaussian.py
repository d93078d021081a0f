"""Chains of a Gaussian that rest, move, or find their gradients in short numbers: the variance of
their law."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import effebm_ext as eff
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.storage import Storage

LIMITS = (-6.0, 6.0)


@dataclass(frozen=True)
class Scale:
    """Sizes of the runs: chains of `dim` elements, looked at `looks` times over `duration`
    relaxation times of 2 / step_size steps, after `burn_in` of them."""

    chains: int
    dim: int
    looks: int
    burn_in: float
    duration: float


FULL = Scale(chains=1024, dim=64, looks=40, burn_in=3, duration=10)
QUICK = Scale(chains=16, dim=8, looks=4, burn_in=0.1, duration=0.2)

# The chains in motion: dtype of the state, and whether it is rounded stochastically.
MOVING = {
    "float32": (torch.float32, False),
    "bfloat16, to nearest": (torch.bfloat16, False),
    "bfloat16, stochastic": (torch.bfloat16, True),
    "float16, to nearest": (torch.float16, False),
    "float16, stochastic": (torch.float16, True),
}
STEP_SIZES = (0.02, 0.002, 0.0005)
# The chains at rest, in a buffer of four times as many as are moved.
RESTING = {
    "float32": None,
    "bfloat16": Storage(torch.bfloat16),
    "float16": Storage(torch.float16),
    "uint8": Storage(torch.uint8, LIMITS),
}
STEPS_PER_VISIT = (1, 10)
COMPRESSOR = eff.BlockSign(16)
# The arithmetic of the energy and its gradient, and whether steps are adjusted.
GRADIENTS = {
    "float32": (None, False),
    "bfloat16": (torch.bfloat16, False),
    "float16": (torch.float16, False),
    "float32, adjusted": (None, True),
    "bfloat16, adjusted": (torch.bfloat16, True),
}
CONDITION = 30.0  # of the precision matrix of the energy that a network computes
GRADIENT_STEP_SIZES = (0.1, 0.02)  # over the largest precision
GRADIENT_SCALE = Scale(chains=1024, dim=64, looks=12, burn_in=1, duration=3)


class Quadratic(nn.Module):
    """The energy |A x|^2 / 2 by a matrix product, as networks compute theirs. A x has unit
    variance."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        basis = torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q
        self.a = torch.logspace(0, math.log10(CONDITION) / 2, dim)[:, None] * basis

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.a).float().square().sum(1) / 2


def gradients(name: str, step_size: float, scale: Scale) -> Tensor:
    """Returns the mean square of A x of every chain, ``(chains,)``, whose gradient is computed in
    short numbers. For adjusted steps its mean is 1."""
    dtype, adjusted = GRADIENTS[name]
    energy = Quadratic(scale.dim)
    kind = eff.MALA if adjusted else eff.Langevin
    sampler = kind(energy, step_size=step_size / CONDITION, gradient_dtype=dtype)
    z = torch.randn(scale.chains, scale.dim, generator=torch.Generator().manual_seed(0))
    state = sampler.init(torch.linalg.solve(energy.a, z.T).T, rng=eff.Key(1))
    relaxation = 2 / step_size * CONDITION
    sampler.advance_(state, round(relaxation * scale.burn_in))
    every, seen = max(1, round(relaxation * scale.duration / scale.looks)), []
    for _ in range(scale.looks):
        sampler.advance_(state, every)
        seen.append((state.x @ energy.a.T).double().square().mean(1))
    return torch.stack(seen).mean(0)


def moving(name: str, step_size: float, scale: Scale) -> Tensor:
    """Returns the mean square of every chain, ``(chains,)``, if they move in short numbers. Without
    rounding its mean is 1 / (1 - step_size / 4)."""
    dtype, stochastic = MOVING[name]
    x = torch.randn(scale.chains, scale.dim, generator=torch.Generator().manual_seed(0)).to(dtype)
    relaxation = 2 / step_size
    every = max(1, round(relaxation * scale.duration / scale.looks))
    first, key, seen = round(relaxation * scale.burn_in), eff.Key(1), []
    for step in range(first + every * scale.looks):
        # The gradient of x^2 / 2 is x, so nothing but the state is rounded.
        eff.langevin_step_(
            x, x.clone(), step_size, stochastic_rounding=stochastic, rng=key.at(step)
        )
        if step >= first and (step - first) % every == 0:
            seen.append(x.double().square().mean(1))
    return torch.stack(seen).mean(0)


def resting(name: str, steps: int, scale: Scale, step_size: float = 0.02) -> Tensor:
    """Returns the mean square of every place among the chains that move, ``(chains,)``, if they
    rest in short numbers; they have error feedback."""
    sampler = eff.Langevin(
        lambda x: x.square().sum(1) / 2,
        step_size=step_size,
        compressor=COMPRESSOR,
        error_feedback=True,
    )
    n = 4 * scale.chains
    generator = torch.Generator().manual_seed(0)
    buffer = ReplayBuffer(
        sampler,
        torch.randn(n, scale.dim, generator=generator),
        n_chains=scale.chains,
        generator=generator,
        rng=eff.Key(1),
        storage=RESTING[name],
    )
    visits = 2 / step_size / steps * n / scale.chains  # a relaxation time of all chains
    every = max(1, round(visits * scale.duration / scale.looks))
    first, seen = round(visits * scale.burn_in), []
    for visit in range(first + every * scale.looks):
        buffer.advance(steps)
        if visit >= first and (visit - first) % every == 0:
            seen.append(buffer.x.double().square().mean(1))
    return torch.stack(seen).mean(0)
