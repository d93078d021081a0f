"""Batches of data by class."""

from __future__ import annotations

import torch
from torch import Tensor


class RowsByClass:
    """Finds rows of data that have given classes.

    Args:
        labels: the labels of all rows, int64 ``(n,)`` from 0 on, on the CPU.
    """

    def __init__(self, labels: Tensor) -> None:
        self._order = labels.argsort(stable=True)  # the rows of class 0, then of class 1, ...
        self._counts = labels.bincount()
        self._starts = self._counts.cumsum(0) - self._counts

    def draw(self, y: Tensor, generator: torch.Generator) -> Tensor:
        """Draws, with replacement, a row for every label in ``y`` (int64 ``(m,)``, CPU) that has
        this label; every label must occur.

        Raises:
            IndexError, RuntimeError: a class has no row.
        """
        numbers = torch.randint(2**62, y.shape, generator=generator)
        return self._order[self._starts[y] + numbers % self._counts[y]]


def spread_labels(labels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Returns ``n`` labels in random order, with the frequencies of ``labels`` as far as n allows.
    Classes that are too rare for this have one label, as far as n allows that: each comes in the
    place of a label of the most frequent class.

    Args:
        labels: int64 ``(m,)`` from 0 on, on the CPU.
        n: the number of labels to return.
        generator: a CPU generator.
    """
    even = labels.sort().values[torch.arange(n) * len(labels) // n]
    of_data = labels.bincount()
    counts = even.bincount(minlength=len(of_data))
    for rare in ((counts == 0) & (of_data > 0)).nonzero()[:, 0]:
        frequent = counts.argmax()
        if counts[frequent] == 1:  # there are more classes than labels
            break
        counts[frequent] -= 1
        counts[rare] += 1
    spread = torch.arange(len(counts)).repeat_interleave(counts)
    return spread[torch.randperm(n, generator=generator)]
