"""States that chains start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from effebm_ext.ops.checks import check_state, compute_dtype
from effebm_ext.rng import Key, Rng
from effebm_ext.samplers.state import LangevinState


def initial_state(
    x0: Tensor,
    rng: Rng,
    energy_kwargs: Mapping[str, Any] | None,
    *,
    with_residual: bool = False,
    with_start: bool = False,
) -> LangevinState:
    """Returns a state at a copy of ``x0``; x0, rng and energy_kwargs are the arguments of
    :meth:`effebm_ext.samplers.Sampler.init`.

    Args:
        with_residual: whether the state has a residual of zero, for error feedback.
        with_start: whether the state keeps x0, so that chains can go back to it.

    Raises:
        TypeError: as :meth:`effebm_ext.samplers.Sampler.init`.
    """
    check_state(x0, "x0")
    if not isinstance(energy_kwargs, Mapping | None):
        kind = type(energy_kwargs).__name__
        raise TypeError(f"energy_kwargs: expected a mapping from names to values, got {kind}")
    x = x0.detach().clone(memory_format=torch.contiguous_format)
    state = LangevinState(
        x,
        torch.zeros_like(x, dtype=compute_dtype(x.dtype)) if with_residual else None,
        _as_key(rng),
        energy_kwargs=dict(energy_kwargs or {}),
        start=x.clone() if with_start else None,
    )
    for name, value in state.values_per_chain().items():
        state.energy_kwargs[name] = value.detach().clone()
    return state


def _as_key(rng: Rng) -> Key:
    if isinstance(rng, Key):
        return rng
    if rng is not None and not isinstance(rng, torch.Generator):
        raise TypeError(f"rng: expected a Key, a torch.Generator or None, got {type(rng).__name__}")
    device = "cpu" if rng is None else rng.device
    seed = torch.randint(-(2**63), 2**63 - 1, (), device=device, generator=rng)
    return Key(int(seed))
