"""Chains with the energy and the drift where they are, so that a step needs one gradient."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from effebm_ext.ops.compressor import Packed
from effebm_ext.ops.packing import PackedEntries, PackedSigns
from effebm_ext.samplers.state import LangevinState

CachedDrift = Tensor | Packed


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
        match self.drift, chains.drift:
            case PackedSigns(), PackedSigns():
                self.drift = self.drift.put(rows, chains.drift)
            case PackedEntries(), PackedEntries():
                self.drift = self.drift.put(rows, chains.drift)
            case Tensor(), Tensor():
                self.drift[rows] = chains.drift
            case own, other:
                raise TypeError(f"drift: expected {type(own).__name__}, got {type(other).__name__}")


def dense(drift: CachedDrift) -> Tensor:
    """``(n_chains, *event)``, packed or not."""
    return drift if isinstance(drift, Tensor) else drift.unpack()


def drift_tensors(drift: CachedDrift) -> dict[str, Tensor | None]:
    """What changes of a drift, by name, for a checkpoint."""
    match drift:
        case PackedSigns():
            return {"signs": drift.signs, "zeros": drift.zeros, "scales": drift.scales}
        case PackedEntries():
            return {"values": drift.values, "indices": drift.indices}
        case Tensor():
            return {"dense": drift}
        case other:
            raise TypeError(f"drift: expected a tensor or a packed one, got {type(other).__name__}")


def load_drift(saved: dict[str, Any], like: CachedDrift, device: torch.device) -> CachedDrift:
    """A copy on ``device`` of the drift that :func:`drift_tensors` was made of.

    Raises:
        KeyError: the drift is kept otherwise than ``like``.
        ValueError: a tensor has another shape.
    """
    copies: dict[str, Any] = {}
    for name, own in drift_tensors(like).items():
        value = saved[name]
        if own is not None and value is not None and value.shape != own.shape:
            raise ValueError(f"drift: expected {name} {tuple(own.shape)}, got {tuple(value.shape)}")
        copies[name] = None if value is None else value.to(device, copy=True)
    match like:
        case PackedSigns() | PackedEntries():
            return dataclasses.replace(like, **copies)
        case _:
            return copies["dense"]
