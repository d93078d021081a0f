"""Chains with the energy and the drift where they are, so that a step needs one gradient."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from effebm_ext.ops.packing import Packed
from effebm_ext.samplers.state import LangevinState

if TYPE_CHECKING:
    from typing_extensions import Self

CachedDrift = Tensor | Packed


@dataclasses.dataclass
class CachedState(LangevinState):
    """A :class:`LangevinState` without residual, and what was found at ``x``.

    Attributes:
        energy: ``(n_chains,)``.
        drift: ``C(clip(grad E))`` ``(n_chains, *event)``; packed, without loss, where the
            compressor can pack.
    """

    energy: Tensor = dataclasses.field(kw_only=True)
    drift: CachedDrift = dataclasses.field(kw_only=True)

    def take(self, rows: Tensor) -> Self:
        """As :meth:`LangevinState.take`."""
        taken = super().take(rows)
        if not isinstance(self.drift, Tensor):
            taken.drift = self.drift.take(rows)
        return taken

    def put_(self, rows: Tensor, chains: LangevinState) -> None:
        """As :meth:`LangevinState.put_`."""
        assert isinstance(chains, CachedState)
        own, theirs = self.drift, chains.drift
        if type(own) is not type(theirs):
            raise TypeError(f"drift: expected {type(own).__name__}, got {type(theirs).__name__}")
        super().put_(rows, chains)
        if isinstance(own, Packed) and isinstance(theirs, Packed):
            self.drift = own.put(rows, theirs)

    def state_dict(self) -> dict[str, Any]:
        """As :meth:`LangevinState.state_dict`."""
        return {**super().state_dict(), "drift": _tensors(self.drift)}

    def loaded(self, saved: dict[str, Any]) -> Self:
        """As :meth:`LangevinState.loaded`."""
        drift = saved["drift"]
        dense = drift["dense"] if isinstance(self.drift, Tensor) else None
        loaded = super().loaded({**saved, "drift": dense})
        loaded.drift = _loaded(drift, self.drift, self.x.device)
        return loaded


def dense(drift: CachedDrift) -> Tensor:
    """``(n_chains, *event)``, packed or not."""
    return drift if isinstance(drift, Tensor) else drift.unpack()


def _tensors(drift: CachedDrift) -> dict[str, Tensor | None]:
    """The tensors of a drift by name, for a checkpoint."""
    return {"dense": drift} if isinstance(drift, Tensor) else drift.tensors()


def _loaded(saved: dict[str, Any], like: CachedDrift, device: torch.device) -> CachedDrift:
    """A copy on ``device`` of the drift that :func:`_tensors` was made of.

    Raises:
        KeyError: the drift is kept otherwise than ``like``.
        ValueError: a tensor has another shape.
    """
    copies: dict[str, Any] = {}
    for name, own in _tensors(like).items():
        value = saved[name]
        if own is not None and value is not None and value.shape != own.shape:
            raise ValueError(f"drift: expected {name} {tuple(own.shape)}, got {tuple(value.shape)}")
        copies[name] = None if value is None else value.to(device, copy=True)
    return copies["dense"] if isinstance(like, Tensor) else like.with_tensors(copies)
