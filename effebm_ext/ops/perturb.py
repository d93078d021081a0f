"""perturbed_pair: data moved both ways along a random direction, for finite differences."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from effebm_ext.ops.checks import check_state, compute_dtype
from effebm_ext.ops.langevin_step import langevin_step
from effebm_ext.rng import Key, Rng, key_arguments

_DIRECTIONS = 0x9E3779B97F4A7C15


class PerturbedPair(NamedTuple):
    """``x``: ``(2, n, *event)``, moved along and against v. ``noise_dot``: ``(n,)``, the sum of v
    times the noise over every row, float32 (float64 for float64)."""

    x: Tensor
    noise_dot: Tensor


def perturbed_pair(
    x: Tensor,
    radius: float | Tensor,
    *,
    noise_std: float | Tensor = 0.0,
    rng: Rng = None,
) -> PerturbedPair:
    """``x + s * xi + v`` and ``x + s * xi - v``, with v uniform on the sphere of a radius.

    Args:
        x: ``(n, *event)``; no gradient flows through it.
        radius: norm of v over the whole row, a number or a tensor ``()`` or ``(n,)``.
        noise_std: s, likewise; xi are standard normals.
        rng: a Key, which gives the same draw again, a torch.Generator, or None.
    """
    check_state(x)
    words, offset, first_chain = key_arguments(rng, x)
    seed = int(words[0]) % 2**64
    zeros = torch.zeros_like(x, dtype=compute_dtype(x.dtype), requires_grad=False)

    def normals(seed: int) -> Tensor:
        key = Key(seed, offset, first_chain)
        return langevin_step(zeros, zeros, 0.0, noise_std=1.0, rng=key).reshape(len(x), -1)

    def per_row(value: float | Tensor) -> Tensor:
        return torch.as_tensor(value, dtype=zeros.dtype, device=x.device).expand(len(x))[:, None]

    directions = normals(seed ^ _DIRECTIONS)
    v = per_row(radius) * directions / directions.norm(dim=1, keepdim=True)
    noise = per_row(noise_std) * normals(seed)
    noisy = x.detach().reshape(len(x), -1).to(zeros.dtype) + noise
    pair = torch.stack([noisy + v, noisy - v]).reshape(2, *x.shape).to(x.dtype)
    return PerturbedPair(pair, (v * noise).sum(1))
