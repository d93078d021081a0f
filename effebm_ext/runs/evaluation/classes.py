"""The classes of a conditional run, and the chains that each of them gets in an evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from effebm_ext.energies import energies_at
from effebm_ext.evaluation.ais import AIS
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset

_CHUNK = 1000  # rows whose energies are found at a time
_CHAINS_OF_A_CLASS = 8  # the minimum, so that the error of a class can be estimated


class Classes:
    """The classes of a conditional run, or one class of all rows. A class is named by its position
    among the classes of the data."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        energy: Callable[..., Tensor],
        chains: Tensor,
        labels: Tensor | None,
    ) -> None:
        if not config.conditional:
            dataset = dataclasses.replace(dataset, labels=torch.zeros(len(dataset.rows)).long())
            labels = torch.zeros(len(chains), device=chains.device).long()
        if dataset.labels is None or labels is None:
            raise ValueError("labels: expected those of data and chains, as the run is conditional")
        self.conditional, self.dataset = config.conditional, dataset
        self.labels = dataset.labels.unique()
        self._energy, self._chains, self._chain_labels = energy, chains, labels

    def names(self) -> list[str | None]:
        """Returns the names of the classes, or None for those without."""
        names = self.dataset.class_names
        return [names[label] if names else None for label in self.labels.tolist()]

    def energy(self, x: Tensor, position: Tensor) -> Tensor:
        """Returns the energies of rows with the classes at ``position``, int64 ``(n,)``."""
        if not self.conditional:
            return self._energy(x)
        return self._energy(x, y=self.labels.to(x.device)[position])

    def energies(self, x: Tensor) -> Tensor:
        """Returns the energies ``(n, K)`` of every row with every class."""
        columns = []
        with torch.no_grad():
            for k in range(len(self.labels)):
                position = torch.full((_CHUNK,), k, device=x.device)
                parts = [
                    energies_at(self.energy, p, {"position": position[: len(p)]})
                    for p in x.split(_CHUNK)
                ]
                columns.append(torch.cat(parts))
        return torch.stack(columns, 1)

    def positions(self, rows: Dataset) -> Tensor:
        """Returns the positions of the classes of the rows, int64 ``(n,)``."""
        assert rows.labels is not None
        return torch.searchsorted(self.labels, rows.labels)

    def shares(self, rows: Dataset) -> Tensor:
        """Returns the frequencies of the classes, float64 ``(K,)``."""
        counts = self.positions(rows).bincount(minlength=len(self.labels))
        return counts.double() / counts.sum()

    def starts(
        self, counts: Sequence[int], noisy: Callable[[Tensor], Tensor]
    ) -> tuple[list[Tensor], bool]:
        """Returns the first chains of every class, at most its count, or data if there are fewer
        than two; and whether any class got data."""
        starts, from_data = [], False
        for label, count in zip(self.labels.tolist(), counts, strict=True):
            start = self._chains[self._chain_labels == label][:count]
            if len(start) < min(2, count):
                rows = (self.dataset.labels == label).nonzero().flatten()
                rows = rows[torch.arange(count) % len(rows)]
                start, from_data = noisy(self.dataset.rows[rows]), True
            starts.append(start)
        return starts, from_data


def share_out(n_chains: int, shares: Tensor) -> list[int]:
    """Returns the number of chains of every class."""
    if len(shares) == 1:
        return [n_chains]
    return [max(_CHAINS_OF_A_CLASS, round(n_chains * share)) for share in shares.tolist()]


def in_proportion(runs: Sequence[AIS], shares: Tensor, n: int) -> Tensor:
    """Returns ``n`` samples of the mixture in which classes have their shares, or as many as there
    can be."""
    of_class = [(run.samples, share) for run, share in zip(runs, shares.tolist(), strict=True)]
    n_drawn = min(n, *(len(x) / share for x, share in of_class if share))
    return torch.cat([x[: int(n_drawn * share + 1e-9)] for x, share in of_class])
