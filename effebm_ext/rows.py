"""Rows of data that are kept as they are stored."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

_PIECE = 2**22  # elements that are looked at together


@dataclasses.dataclass(frozen=True, eq=False)
class StoredRows:
    """Stands for a float32 tensor ``(n, *event)``, and is indexed as one by an int, a slice or an
    int64 tensor. Pixels take one byte each, as they become numbers only where they are taken, and
    some rows of other data are no copy of them.

    Attributes:
        values: float32 ``(m, *event)``, or uint8 if there are levels.
        levels: float32 ``(256,)``, the number that each value of uint8 stands for. As a table it
            gives the same bits on every device.
        index: int64 ``(n,)``, the rows of ``values`` that these are; None: all.
    """

    values: Tensor
    levels: Tensor | None = None
    index: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values if self.index is None else self.index)

    def __getitem__(self, rows: int | slice | Tensor) -> Tensor:
        values = self.values[rows if self.index is None else self.index[rows]]
        if self.levels is None:
            return values
        return self.levels.index_select(0, values.flatten().int()).view(values.shape)

    @property
    def shape(self) -> torch.Size:
        """The shape of the tensor that they stand for."""
        return torch.Size((len(self), *self.values.shape[1:]))

    @property
    def device(self) -> torch.device:
        """The device on which they lie."""
        return self.values.device

    def to(self, device: torch.device | str) -> StoredRows:
        """Returns the rows on a device."""
        levels, index = (None if t is None else t.to(device) for t in (self.levels, self.index))
        return StoredRows(self.values.to(device), levels, index)

    def select(self, rows: Tensor) -> StoredRows:
        """Returns the rows at ``rows``, int64 ``(k,)``, without a copy of them."""
        index = rows if self.index is None else self.index[rows]
        return StoredRows(self.values, self.levels, index)

    def mean(self) -> Tensor:
        """Returns the mean of all elements, float32 without axes, on the CPU."""
        return torch.tensor(self._moments[0], dtype=torch.float32)

    def std(self, *, correction: int = 1) -> Tensor:
        """Returns the standard deviation of all elements, as ``torch.Tensor.std``."""
        degrees = self.shape.numel() - correction
        value = math.sqrt(self._moments[1] / degrees) if degrees > 0 else math.nan
        return torch.tensor(value, dtype=torch.float32)

    def min(self) -> Tensor:
        """Returns the least element."""
        return torch.tensor(self._moments[2], dtype=torch.float32)

    def max(self) -> Tensor:
        """Returns the greatest element."""
        return torch.tensor(self._moments[3], dtype=torch.float32)

    @functools.cached_property
    def _moments(self) -> tuple[float, float, float, float]:
        """The mean, the sum of squares around it, the least and the greatest of all elements."""
        found = [
            (p.numel(), *map(float, (p.mean(), p.std(correction=0), p.min(), p.max())))
            for p in pieces(self)
        ]
        mean = sum(n * m for n, m, *_ in found) / self.shape.numel()
        squares = sum(n * (s * s + (m - mean) ** 2) for n, m, s, *_ in found)
        return mean, squares, min(low for *_, low, _ in found), max(high for *_, high in found)


Rows = Tensor | StoredRows


def pieces(rows: Rows) -> Iterator[Tensor]:
    """Yields all rows, float32, some megabytes at a time."""
    step = max(1, _PIECE // max(1, rows.shape[1:].numel()))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def pixels(values: Tensor, *, scaled: bool = True) -> StoredRows:
    """Returns rows of pixels, uint8 ``(n, *event)``, as numbers in [-1, 1], or from 0 to 255 if
    they are not ``scaled``."""
    levels = torch.arange(256, dtype=torch.float32)
    return StoredRows(values, levels / 127.5 - 1 if scaled else levels)
