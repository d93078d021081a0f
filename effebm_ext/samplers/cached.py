"""Chains with the energy and the drift where they are, so that a step needs one gradient."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from effebm_ext.ops.packing import PackedEntries, PackedSigns
from effebm_ext.samplers.state import LangevinState

CachedDrift = Tensor | PackedEntries | PackedSigns


@dataclasses.dataclass
class CachedState(LangevinState):
    """A :class:`LangevinState` without residual, and what was found at ``x``.

    Attributes:
        energy: ``(n_chains,)``.
        drift: ``C(clip(grad E))`` ``(n_chains, *event)``; packed, without loss, where the
            compressor is TopK or BlockSign.
    """

    energy: Tensor = dataclasses.field(kw_only=True)
    drift: CachedDrift = dataclasses.field(kw_only=True)

    def clone(self) -> CachedState:
        """A copy that shares no memory but that of the energy_kwargs shared by all chains."""
        return self.take(torch.arange(len(self.x), device=self.x.device))

    def take(self, rows: Tensor) -> CachedState:
        """As :meth:`LangevinState.take`."""
        drift = self.drift[rows] if isinstance(self.drift, Tensor) else self.drift.take(rows)
        taken = super().take(rows)
        assert isinstance(taken, CachedState)
        return dataclasses.replace(taken, energy=self.energy[rows], drift=drift)

    def put_(self, rows: Tensor, chains: LangevinState) -> None:
        """As :meth:`LangevinState.put_`."""
        assert isinstance(chains, CachedState)
        super().put_(rows, chains)
        self.energy[rows] = chains.energy
        if isinstance(self.drift, PackedSigns) and isinstance(chains.drift, PackedSigns):
            self.drift = self.drift.put(rows, chains.drift)
        elif isinstance(self.drift, PackedEntries) and isinstance(chains.drift, PackedEntries):
            self.drift = self.drift.put(rows, chains.drift)
        else:
            assert isinstance(self.drift, Tensor)
            self.drift[rows] = dense(chains.drift)


def dense(drift: CachedDrift) -> Tensor:
    """``(n_chains, *event)``, packed or not."""
    return drift if isinstance(drift, Tensor) else drift.unpack()


def drift_tensors(drift: CachedDrift) -> dict[str, Tensor | None]:
    """What changes of a drift, by name, for a checkpoint."""
    if isinstance(drift, Tensor):
        return {"dense": drift}
    if isinstance(drift, PackedSigns):
        return {"signs": drift.signs, "zeros": drift.zeros, "scales": drift.scales}
    return {"values": drift.values, "indices": drift.indices}


def load_drift(saved: dict[str, Any], like: CachedDrift) -> CachedDrift:
    """A copy of the drift that :func:`drift_tensors` was made of, on the device of ``like``.

    Raises:
        KeyError: the drift is kept otherwise than ``like``.
        ValueError: a tensor has another shape or dtype.
    """
    copies: dict[str, Tensor | None] = {}
    for name, own in drift_tensors(like).items():
        value = saved[name]
        if value is not None and own is not None:
            if (value.shape, value.dtype) != (own.shape, own.dtype):
                raise ValueError(
                    f"drift: expected {name} {own.dtype} {tuple(own.shape)}, "
                    f"got {value.dtype} {tuple(value.shape)}"
                )
        copies[name] = None if value is None else value.to(_device(like), copy=True)
    if isinstance(like, Tensor):
        assert copies["dense"] is not None
        return copies["dense"]
    return dataclasses.replace(like, **copies)


def _device(drift: CachedDrift) -> torch.device:
    if isinstance(drift, Tensor):
        return drift.device
    return drift.scales.device if isinstance(drift, PackedSigns) else drift.values.device
