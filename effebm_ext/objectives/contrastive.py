"""Persistent contrastive divergence with compressed Langevin chains (EFF-EBM, Algorithm 1)."""

from __future__ import annotations

from torch import Tensor, nn

from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.energies import per_chain
from effebm_ext.losses.contrastive import contrastive_divergence
from effebm_ext.objectives.objective import Loss, chain_metrics


class Contrastive:
    """Moves the chains, then steps the parameters along ``mean E(data) - mean E(chains)``.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``, given the chains' energy_kwargs.
        chains: the chains, which move by this energy.
        langevin_steps: steps of the chains per iteration.
        energy_l2: weight of the squared energies in the loss.
    """

    def __init__(
        self,
        energy: nn.Module,
        chains: PersistentChains | ReplayBuffer,
        *,
        langevin_steps: int,
        energy_l2: float = 0.0,
    ) -> None:
        self.energy = energy
        self.chains: PersistentChains | ReplayBuffer = chains
        self.langevin_steps, self.energy_l2 = langevin_steps, energy_l2
        self._seen: dict[str, Tensor] = {}

    @property
    def labels(self) -> Tensor | None:
        """The labels of the chains. If a class were rarer among them than in the data, its energy
        would fall without end."""
        return self.chains.state.energy_kwargs.get("y")

    def advance(self) -> None:
        """Moves the chains by ``langevin_steps``."""
        info = self.chains.advance(self.langevin_steps)
        self._seen = chain_metrics(self.chains.sampler, info)

    def loss(self, data: Tensor, labels: dict[str, Tensor]) -> Loss:
        """Returns ``mean E(data) - mean E(chains)``, with the energies of both and the metrics of
        the chains' last steps."""
        state = self.chains.state
        data_energy = per_chain(self.energy(data, **labels), len(data))
        sample_energy = per_chain(self.energy(state.x, **state.energy_kwargs), len(state.x))
        loss, gap = contrastive_divergence(data_energy, sample_energy, energy_l2=self.energy_l2)
        metrics = {
            "energy_gap": gap,
            "data_energy": data_energy.detach().mean(),
            "sample_energy": sample_energy.detach().mean(),
            **self._seen,
        }
        return Loss(loss, metrics)

    def parameters_moved(self) -> dict[str, float]:
        """Does nothing: the chains move before the parameters do."""
        return {}
