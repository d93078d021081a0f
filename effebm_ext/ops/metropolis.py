"""metropolis_: each chain takes its proposal, or stays where it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from effebm_ext.ops.checks import check_not_transformed, increment_version, refuse_negated
from effebm_ext.ops.log_ratio import of_one_dtype
from effebm_ext.ops.uniforms import uniforms_reference
from effebm_ext.rng import ACCEPTANCE, Key, check_chains, seed_tensor

_METROPOLIS = torch.ops.effebm.metropolis_.default


def metropolis_(
    log_ratio: Tensor,
    energy: Tensor,
    new_energy: Tensor,
    x: Tensor,
    drift: Tensor,
    new_x: Tensor,
    new_drift: Tensor,
    key: Key,
) -> tuple[Tensor, Tensor]:
    """Decides for each chain whether it takes its proposal, ``new_x`` with its energy and drift.
    Where it does not, the rows of ``x`` and ``drift`` are written into ``new_x`` and ``new_drift``,
    which then hold the chains after the step.

    A chain takes its proposal if its uniform number of ``key``, of the purpose acceptance, is below
    ``min(1, exp(log_ratio))``. This probability is 0 where the log ratio is NaN or the new energy
    is not finite. Not differentiable, and not for ``torch.vmap``.

    Args:
        log_ratio: float64 ``(n_chains,)``.
        energy, new_energy: ``(n_chains,)``. If their dtypes differ, the shorter ones are widened.
        x, drift, new_x, new_drift: float32 or float64 ``(n_chains, *event)``, all alike.
        key: names the uniform numbers.

    Returns:
        The energies after the step, and the probabilities float64 ``(n_chains,)``.

    Raises:
        ValueError: a chain number is 2**32 or more.
        RuntimeError: a tensor does not fit the others, or overlaps one that is written.
    """
    check_not_transformed("metropolis_", log_ratio, energy, new_energy, x, drift, new_x, new_drift)
    check_chains(key, x.shape[0])
    after, probability = _METROPOLIS(
        log_ratio, *of_one_dtype(energy, new_energy), x, drift, new_x, new_drift,
        seed_tensor(key, x), key.offset, key.first_chain,
    )  # fmt: skip
    increment_version(new_x)
    increment_version(new_drift)
    return after, probability


refuse_negated(_METROPOLIS)


@torch.library.register_fake("effebm::metropolis_")
def _(
    log_ratio: Tensor, energy: Tensor, new_energy: Tensor, x: Tensor, *arguments: object
) -> tuple[Tensor, Tensor]:
    n = x.shape[0]
    return energy.new_empty(n), energy.new_empty(n, dtype=torch.float64)


def metropolis_reference(
    log_ratio: Tensor,
    energy: Tensor,
    new_energy: Tensor,
    x: Tensor,
    drift: Tensor,
    new_x: Tensor,
    new_drift: Tensor,
    key: Key,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns x, drift, energies and probabilities after the step, in plain PyTorch on the CPU."""
    usable = new_energy.isfinite() & ~log_ratio.isnan()
    exponent = torch.where(usable, log_ratio.clamp(max=0), -math.inf)
    probability = exp_reference(exponent)
    accept = uniforms_reference(key, len(x), ACCEPTANCE) < probability
    row = accept.view(-1, *[1] * (x.dim() - 1))
    after = torch.where(accept, new_energy, energy)
    return torch.where(row, new_x, x), torch.where(row, new_drift, drift), after, probability


def exp_reference(x: Tensor) -> Tensor:
    """Returns the contract's ``exp(x)`` of float64 ``x <= 0``, within an ulp."""
    shifted = x.clamp(min=-746) * float.fromhex("0x1.71547652b82fep+0") + 1.5 * 2.0**52
    n = shifted - 1.5 * 2.0**52
    r = (x - n * float.fromhex("0x1.62e42fefa38p-1")) - n * float.fromhex("0x1.ef35793c7673p-45")
    p = torch.full_like(x, 1 / math.factorial(13))
    for k in range(12, 1, -1):
        p = p * r + 1 / math.factorial(k)
    value = 1 + (r + r * r * p)
    half = (n / 2).trunc()
    powers = [((1023 + e).long() << 52).view(torch.float64) for e in (half, n - half)]
    return torch.where(x < -746, 0.0, value * powers[0] * powers[1])
