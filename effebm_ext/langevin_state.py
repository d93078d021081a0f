"""The state of Langevin chains."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

from effebm_ext.rng import Key


@dataclasses.dataclass
class LangevinState:
    """Chains at one moment; with a sampler, everything the next step depends on.

    Attributes:
        x: ``(n_chains, *event)``.
        residual: error-feedback memory of x's shape, float32 (float64 for float64), or None.
        key: names the noise; step ``i`` uses ``key.at(i)``.
        step: steps made so far.
        energy_kwargs: keyword arguments of the energy at every evaluation. Tensors among them
            whose first axis is n_chains are values per chain, such as labels, and stay with their
            chains; everything else is shared by all chains.
    """

    x: Tensor
    residual: Tensor | None
    key: Key
    step: int = 0
    energy_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)

    def clone(self) -> LangevinState:
        """A copy that shares no memory but that of the energy_kwargs shared by all chains."""
        residual = None if self.residual is None else self.residual.clone()
        values = {name: value.clone() for name, value in self.values_per_chain().items()}
        return dataclasses.replace(
            self,
            x=self.x.clone(),
            residual=residual,
            energy_kwargs={**self.energy_kwargs, **values},
        )

    def values_per_chain(self) -> dict[str, Tensor]:
        """The energy_kwargs that hold a value for every chain, ``(n_chains, ...)`` each."""
        return {
            name: value
            for name, value in self.energy_kwargs.items()
            if isinstance(value, Tensor) and value.shape[:1] == self.x.shape[:1]
        }

    def take(self, rows: Tensor) -> LangevinState:
        """Copies of the chains ``rows`` (int64 ``(m,)``, on their device), with what belongs to
        them. Key and step stay, so the copies add the noise of chains 0 to m - 1."""
        residual = None if self.residual is None else self.residual[rows]
        values = {name: value[rows] for name, value in self.values_per_chain().items()}
        values = {**self.energy_kwargs, **values}
        return dataclasses.replace(self, x=self.x[rows], residual=residual, energy_kwargs=values)

    def put_(self, rows: Tensor, chains: LangevinState) -> None:
        """The reverse of :meth:`take`: ``chains`` in the place of ``rows``; step becomes theirs."""
        self.x[rows] = chains.x
        if self.residual is not None and chains.residual is not None:
            self.residual[rows] = chains.residual
        for name, value in self.values_per_chain().items():
            value[rows] = chains.energy_kwargs[name]
        self.step = chains.step
