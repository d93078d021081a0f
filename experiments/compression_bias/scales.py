"""Which chains are run, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import effebm_ext as eff
from experiments.compression_bias.chains import Compressor, Setting


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    chains: int = 8
    dim: int = 6400
    seeds: tuple[int, ...] = (0, 1, 2)
    ratios: tuple[float, ...] = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
    blocks: tuple[int, ...] = (4, 16, 64, 256, 6400)
    step_sizes: tuple[float, ...] = (0.002, 0.02, 0.2)
    skewed_k: tuple[int, ...] = (640, 3200)
    dims: tuple[int, ...] = (10, 100, 1000)
    delays: tuple[int, ...] = (1, 2, 4, 6, 8)
    hard_dim: int = 128
    hard_chains: int = 32
    hard_ratios: tuple[float, ...] = (0.1, 0.5)
    hard_blocks: tuple[int, ...] = (4, 128)
    hard_step_sizes: tuple[float, ...] = (0.001, 0.01)
    learned: tuple[tuple[Compressor, float], ...] = (
        (None, 0.02),
        (eff.TopK(ratio=0.5), 0.02),
        (eff.TopK(ratio=0.1), 0.02),
        (eff.TopK(ratio=0.1), 0.2),
        (eff.TopK(ratio=0.01), 0.002),
        (eff.BlockSign(4), 0.02),
        (eff.BlockSign(64), 0.02),
        (eff.BlockSign(6400), 0.02),
    )
    learned_updates: int = 300
    walkers: int = 4096
    corrected_dims: tuple[int, ...] = (10, 100)
    corrected_step_size: float = 0.02
    followed_updates: int = 100
    duration: float = 30.0
    alarm_chains: int = 256
    alarm_dim: int = 64
    alarm_steps: int = 2000


QUICK = Scale(
    chains=16, dim=320, ratios=(0.1,), blocks=(64, 320), step_sizes=(0.02, 0.2),
    skewed_k=(160,), dims=(10,), delays=(4,),
    hard_dim=32, hard_chains=16, hard_ratios=(0.5,), hard_blocks=(32,), hard_step_sizes=(0.01,),
    learned=((eff.TopK(ratio=0.1), 0.05), (eff.BlockSign(64), 0.05)),
    learned_updates=80, walkers=512, corrected_dims=(10,), corrected_step_size=0.05,
    followed_updates=10, duration=10.0, alarm_chains=128, alarm_steps=600,
)  # fmt: skip


def isotropic_settings(scale: Scale) -> Iterator[Setting]:
    compressors: list[Compressor] = [eff.TopK(ratio=r) for r in scale.ratios]
    for compressor in [*compressors, *map(eff.BlockSign, scale.blocks)]:
        for feedback in (False, True):
            if not feedback or compressor != eff.TopK(ratio=1.0):
                for step_size in scale.step_sizes:
                    yield Setting(compressor, feedback, step_size)


def delayed_settings(scale: Scale) -> Iterator[Setting]:
    """With feedback and a given step_size * d / k."""
    for ratio in (0.1, 0.01):
        for delay in scale.delays:
            yield Setting(eff.TopK(ratio=ratio), True, delay * ratio)


def hard_settings(scale: Scale) -> Iterator[tuple[Setting, bool]]:
    compressors: list[Compressor] = [None, *(eff.TopK(ratio=r) for r in scale.hard_ratios)]
    for rotated in (False, True):
        for compressor in [*compressors, *map(eff.BlockSign, scale.hard_blocks)]:
            for feedback in (False, True) if compressor else (False,):
                for step_size in scale.hard_step_sizes:
                    yield Setting(compressor, feedback, step_size), rotated


def learned_settings(scale: Scale) -> Iterator[Setting]:
    for compressor, step_size in scale.learned:
        for feedback in (False, True) if compressor else (False,):
            yield Setting(compressor, feedback, step_size)


def few_settings(*compressors: Compressor) -> Iterator[Setting]:
    """With and without feedback at one step size."""
    for compressor in compressors:
        for feedback in (False, True):
            yield Setting(compressor, feedback, 0.02)
