"""What diagnostics see of compression's bias: the virial and the Stein discrepancy.

Chains start from exact samples of the target, so that whatever is seen is due to the steps. The
figures are those of the chains at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

import effebm_ext as eff
from effebm_ext.evaluation import kernel_stein_discrepancy, virial
from experiments.common.records import Row
from experiments.compression_bias.chains import Setting, mean
from experiments.compression_bias.scales import Scale

DISTANCE = 2.0  # of both modes of the mixture from 0
_STEP_SIZE = 0.02


@dataclass(frozen=True)
class Target:
    """A density of d entries.

    Attributes:
        name: in words.
        gradient: of the energy.
        samples: draws n exact samples with a generator.
        variance: of an entry, mean over all.
    """

    name: str
    gradient: Callable[[Tensor], Tensor]
    samples: Callable[[int, torch.Generator], Tensor]
    variance: float


def gaussian(dim: int) -> Target:
    """N(0, I)."""

    def samples(n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, dim, generator=generator)

    return Target("N(0, I)", lambda x: x, samples, 1.0)


def mixture(dim: int) -> Target:
    """Halves of N(a, I) and N(-a, I), where |a| is DISTANCE and all entries of a are equal."""
    a = torch.full((dim,), DISTANCE / math.sqrt(dim))

    def samples(n: int, generator: torch.Generator) -> Tensor:
        sides = 2 * torch.randint(2, (n, 1), generator=generator) - 1
        return torch.randn(n, dim, generator=generator) + sides * a

    def gradient(x: Tensor) -> Tensor:
        return x - torch.tanh(x @ a)[:, None] * a

    return Target("mixture", gradient, samples, 1 + DISTANCE**2 / dim)


def alarm_settings() -> Iterator[tuple[Setting, Callable[[int], Target]]]:
    for target in (gaussian, mixture):
        yield Setting(None, False, _STEP_SIZE), target
        for compressor in (eff.TopK(ratio=0.1), eff.BlockSign(64)):
            for feedback in (False, True):
                yield Setting(compressor, feedback, _STEP_SIZE), target


def alarms(setting: Setting, make: Callable[[int], Target], scale: Scale) -> Row:
    target, seed = make(scale.alarm_dim), scale.seeds[0]
    generator = torch.Generator().manual_seed(seed)
    sampler = eff.Langevin(
        score=lambda x: -target.gradient(x),
        step_size=setting.step_size,
        compressor=setting.compressor,
        error_feedback=setting.error_feedback,
    )
    start = target.samples(scale.alarm_chains, generator)
    x = sampler.sample(start, scale.alarm_steps, rng=eff.Key(seed))
    gradient = target.gradient(x)
    stein = kernel_stein_discrepancy(x, -gradient, generator=generator)
    return {
        "chain": f"{target.name}, {setting.name(scale.alarm_dim)}",
        "step_size": setting.step_size,
        "feedback": setting.error_feedback,
        "variance": mean(x.square().mean(1) / target.variance),
        "virial": virial(x, gradient),
        "ksd": (stein.ksd, stein.error),
        "p_value": stein.p_value,
    }
