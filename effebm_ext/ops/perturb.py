"""perturbed_pair: data moved both ways along a random direction, for finite differences."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from effebm_ext import reference
from effebm_ext.ops.checks import check_state, compute_dtype, row_size
from effebm_ext.rng import Rng, key_arguments

_NOISE, _DIRECTIONS = 0, 4


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
    key, offset, first_chain = key_arguments(rng, x)
    dtype = compute_dtype(x.dtype)

    def normals(purpose: int) -> Tensor:
        rows = reference.normals(len(x), row_size(x), int(key[0]), offset, first_chain, purpose)
        return rows.to(x.device, dtype)

    def per_row(value: float | Tensor) -> Tensor:
        return torch.as_tensor(value, dtype=dtype, device=x.device).expand(len(x))[:, None]

    directions = normals(_DIRECTIONS)
    v = per_row(radius) * directions / directions.norm(dim=1, keepdim=True)
    noise = per_row(noise_std) * normals(_NOISE)
    noisy = x.detach().flatten(1).to(dtype) if x.dim() > 1 else x.detach()[:, None].to(dtype)
    noisy = noisy + noise
    pair = torch.stack([noisy + v, noisy - v]).reshape(2, *x.shape).to(x.dtype)
    return PerturbedPair(pair, (v * noise).sum(1))
