"""Compressed tensors in less memory, without loss."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from effebm_ext.ops.checks import check_not_transformed, check_state, compute_dtype

if TYPE_CHECKING:
    from typing_extensions import Self


class Packed(ABC):
    """A compressed tensor ``(n_chains, *event_shape)`` in less memory."""

    event_shape: tuple[int, ...]

    @abstractmethod
    def unpack(self) -> Tensor:
        """Returns the tensor that was packed, bit for bit: ``(n_chains, *event_shape)``."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor | None]:
        """The tensors by name, each with a row for every chain."""

    @abstractmethod
    def put(self, chains: Tensor, other: Self) -> Self:
        """The reverse of :meth:`take`: with ``other`` in the place of some chains; the memory of
        these is overwritten."""

    def take(self, chains: Tensor) -> Self:
        """Copies of some chains, by their indices, int64 ``(n,)``."""
        return self.mapped(lambda t: t[chains])

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same with a function applied to all tensors."""
        tensors = self.tensors().items()
        return self.with_tensors({n: None if t is None else function(t) for n, t in tensors})

    def with_tensors(self, tensors: dict[str, Tensor | None]) -> Self:
        """The same with other tensors, by the names of :meth:`tensors`."""
        return dataclasses.replace(self, **tensors)  # type: ignore[type-var]

    @property
    def nbytes(self) -> int:
        """Memory of the chains, in bytes."""
        return sum(t.nbytes for t in self.tensors().values() if t is not None)


def check_packable(c: Tensor) -> None:
    check_state(c, "c")
    check_not_transformed("pack", c)
    if c.dtype != compute_dtype(c.dtype):
        raise TypeError(f"c: expected float32 or float64, as drifts are, got {c.dtype}")
