"""uniforms: a uniform random number for each chain."""

from __future__ import annotations

import torch
from torch import Tensor

from effebm_ext.reference import philox4x32_10
from effebm_ext.rng import Key, check_chains, seed_tensor

_UNIFORMS = torch.ops.effebm.uniforms.default
_MASK32 = 0xFFFFFFFF


def uniforms(key: Key, n: int, purpose: int, *, like: Tensor) -> Tensor:
    """Returns a uniform number in (0, 1) for each of ``n`` chains: float64 ``(n,)``, on the device
    of ``like``.

    A number is a multiple of 2^-53 that depends only on the key, the chain's number and the purpose
    (docs/numerics.md), one of ``effebm_ext.rng.ACCEPTANCE`` and ``RESAMPLING``.

    Raises:
        ValueError: a chain number is 2**32 or more.
        RuntimeError: like is on a device without kernels.
    """
    check_chains(key, n)
    return _UNIFORMS(seed_tensor(key, like), key.offset, key.first_chain, n, purpose)


@torch.library.register_fake("effebm::uniforms")
def _(key: Tensor, offset: int, first_chain: int, n: int, purpose: int) -> Tensor:
    return key.new_empty(n, dtype=torch.float64)


def uniforms_reference(key: Key, n: int, purpose: int) -> Tensor:
    """Returns the same numbers in plain PyTorch, on the CPU."""
    counter = torch.zeros(n, 4, dtype=torch.int64)
    counter[:, 1] = torch.arange(key.first_chain, key.first_chain + n)
    counter[:, 2] = key.offset & _MASK32
    counter[:, 3] = key.offset >> 32 | purpose << 24
    words = philox4x32_10(counter, key.seed & _MASK32, key.seed >> 32 & _MASK32)
    high, low = words[:, 0] >> 6, words[:, 1] >> 6
    return ((high << 26 | low).double() + 0.5) * 2.0**-52
