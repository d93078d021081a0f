"""States that keep the energy and the drift at x, so that a step needs one gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from effebm_ext.ops.packing import Packed
from effebm_ext.samplers.state import LangevinState
from effebm_ext.shown import as_call

if TYPE_CHECKING:
    from typing_extensions import Self

CachedDrift = Tensor | Packed


@dataclasses.dataclass
class CachedState(LangevinState):
    """A :class:`LangevinState` without residual that also keeps energy and drift at ``x``.

    Attributes:
        energy: the energies at x, ``(n_chains,)``.
        drift: ``C(clip(grad E))`` at x, ``(n_chains, *event)``; packed, without loss, if the
            compressor can pack. With RandomBlock it is ``clip(grad E)``.
    """

    energy: Tensor = dataclasses.field(kw_only=True)
    drift: CachedDrift = dataclasses.field(kw_only=True)

    __repr__ = as_call

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Does what :meth:`LangevinState.mapped` does, for the drift too."""
        mapped = super().mapped(function)
        if not isinstance(self.drift, Tensor):
            mapped.drift = self.drift.mapped(function)
        return mapped

    def put_(self, rows: Tensor, chains: LangevinState) -> None:
        """Does what :meth:`LangevinState.put_` does, for the drift too."""
        assert isinstance(chains, CachedState)
        own, theirs = self.drift, chains.drift
        if type(own) is not type(theirs):
            raise TypeError(f"drift: expected {type(own).__name__}, got {type(theirs).__name__}")
        super().put_(rows, chains)
        if isinstance(own, Packed) and isinstance(theirs, Packed):
            self.drift = own.put(rows, theirs)

    def state_dict(self) -> dict[str, Any]:
        """Does what :meth:`LangevinState.state_dict` does, with the drift by its tensors."""
        return {**super().state_dict(), "drift": _tensors(self.drift)}

    def loaded(self, saved: dict[str, Any]) -> Self:
        """Does what :meth:`LangevinState.loaded` does, for the drift too."""
        drift = saved["drift"]
        dense = drift["dense"] if isinstance(self.drift, Tensor) else None
        loaded = super().loaded({**saved, "drift": dense})
        loaded.drift = _loaded(drift, self.drift, self.x.device)
        return loaded


def dense(drift: CachedDrift) -> Tensor:
    """Returns a drift as a tensor ``(n_chains, *event)``, unpacking it if it is packed."""
    return drift if isinstance(drift, Tensor) else drift.unpack()


def _tensors(drift: CachedDrift) -> dict[str, Tensor | None]:
    """Returns the tensors of a drift by name, for a checkpoint."""
    return {"dense": drift} if isinstance(drift, Tensor) else drift.tensors()


def _loaded(saved: dict[str, Any], like: CachedDrift, device: torch.device) -> CachedDrift:
    """Returns a copy on ``device`` of the drift whose tensors were ``saved``.

    Raises:
        KeyError: the drift was kept in another form than ``like``.
        ValueError: a tensor has another shape.
    """
    copies: dict[str, Any] = {}
    for name, own in _tensors(like).items():
        value = saved[name]
        if own is not None and value is not None and value.shape != own.shape:
            raise ValueError(f"drift: expected {name} {tuple(own.shape)}, got {tuple(value.shape)}")
        copies[name] = None if value is None else value.to(device, copy=True)
    return copies["dense"] if isinstance(like, Tensor) else like.with_tensors(copies)
