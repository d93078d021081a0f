"""Persistent contrastive divergence with compressed Langevin chains (EFF-EBM, Algorithm 1)."""

from __future__ import annotations

from torch import Tensor, nn

from effebm_ext.chains.intermittent import IntermittentChains
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.energies import energies_at, per_chain, score_of
from effebm_ext.losses.contrastive import contrastive_divergence
from effebm_ext.losses.score_matching import dsm
from effebm_ext.objectives.objective import Loss, Watched, chain_metrics, checked_langevin_steps
from effebm_ext.rng import Key
from effebm_ext.scalars import as_float, as_int, as_positive
from effebm_ext.shown import as_call


class Contrastive:
    """Moves the chains, then steps the parameters along ``mean E(data) - mean E(chains)``.

    With ``denoising`` the loss is, with data y that have noise of standard deviation sigma::

        mean E(y) - mean E(chains) + denoising * mean |sigma^2 s(y) + sigma xi|^2 / 2,   s = -grad E

    Both parts are least for the density of the noisy data, the second by denoising score matching
    (Vincent 2011), so that together they have the same minimum. The contrastive part compares the
    data with where the chains are; the denoising part makes the gradient right around the data,
    where it leads the chains back. On images this keeps training stable (docs/images.md). In the
    first ``warm_up`` iterations the loss is the denoising part only, and the chains rest: they
    begin to move when the gradient leads somewhere.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``, given the chains' energy_kwargs.
        chains: the chains, which move by this energy.
        langevin_steps: steps of the chains per iteration, at least 1.
        energy_l2: weight of the squared energies in the loss.
        denoising: weight of the denoising loss; 0: none. With a weight the objective adds the noise
            to the data itself, and the trainer must add none.
        sigma: the noise's standard deviation, > 0, if there is a weight.
        key: the key of the noise, if there is a weight. It must differ from the chains' key.
        warm_up: iterations with the denoising loss only, at least 0; 0 without a weight.

    Raises:
        TypeError: langevin_steps, denoising, sigma or warm_up is no number, or there is a weight
            and no key.
        ValueError: langevin_steps is below 1; denoising is negative or not finite; sigma is not
            positive and finite; warm_up is negative, or positive without a weight.
    """

    _LEAST_STEPS = 1  # without any the chains would never move

    def __init__(
        self,
        energy: nn.Module,
        chains: PersistentChains | ReplayBuffer,
        *,
        langevin_steps: int,
        energy_l2: float = 0.0,
        denoising: float = 0.0,
        sigma: float | None = None,
        key: Key | None = None,
        warm_up: int = 0,
    ) -> None:
        self.energy = energy
        self.chains: PersistentChains | ReplayBuffer | IntermittentChains = chains
        self.langevin_steps = checked_langevin_steps(langevin_steps, self._LEAST_STEPS)
        self.energy_l2 = energy_l2
        self.denoising = as_float(denoising, "denoising")
        if not 0 <= self.denoising < float("inf"):
            raise ValueError(f"denoising: expected a finite number >= 0, got {denoising}")
        warm_up = as_int(warm_up, "warm_up")
        if self.denoising:
            self.sigma = as_positive(sigma, "sigma")
            if not isinstance(key, Key):
                raise TypeError(f"key: expected a Key with denoising, got {key!r}")
            self.key, self.chains = key, IntermittentChains(chains, 1, rest=warm_up)
        elif warm_up:
            raise ValueError(f"warm_up: expected 0 without a weight of denoising, got {warm_up}")
        self._moved = False
        self._seen: dict[str, Tensor] = {}

    __repr__ = as_call

    @property
    def labels(self) -> Tensor | None:
        """The labels of the chains. If a class were rarer among them than in the data, its energy
        would fall without end."""
        return self.chains.state.energy_kwargs.get("y")

    def advance(self) -> None:
        """Moves the chains by ``langevin_steps``, unless they still rest."""
        info = self.chains.advance(self.langevin_steps)
        self._moved = info is not None
        self._seen = {} if info is None else chain_metrics(self.chains.sampler, info)

    def loss(self, data: Tensor, labels: dict[str, Tensor]) -> Loss:
        """Returns the loss, with the energies of data and chains, the denoising loss if it has a
        weight, and the metrics of the chains' last steps."""
        data_energy, denoising = self._of_data(data, labels)
        if denoising is not None and not self._moved:
            metrics = {"denoising_loss": denoising, "data_energy": data_energy.mean()}
            return Loss(self.denoising * denoising, _detached(metrics))
        chains = self.chains
        sample_energy = energies_at(self.energy, chains.samples, chains.state.energy_kwargs)
        loss, gap = contrastive_divergence(data_energy, sample_energy, energy_l2=self.energy_l2)
        metrics = {
            "energy_gap": gap,
            "data_energy": data_energy.mean(),
            "sample_energy": sample_energy.mean(),
            **self._seen,
        }
        if denoising is not None:
            loss = loss + self.denoising * denoising
            metrics["denoising_loss"] = denoising
        return Loss(loss, _detached(metrics))

    def _of_data(self, data: Tensor, labels: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Returns the energies of the data, and the denoising loss if it has a weight."""
        if not isinstance(self.chains, IntermittentChains):
            return energies_at(self.energy, data, labels), None
        energy = Watched(self.energy)
        rng = self.key.at(self.chains.calls)
        loss, _ = dsm(score_of(energy), data, self.sigma, energy_kwargs=labels, rng=rng)
        assert energy.values is not None  # the loss has evaluated them at the noisy data
        return per_chain(energy.values, len(data)), loss

    def parameters_moved(self) -> dict[str, float]:
        """Does nothing: the chains move before the parameters do."""
        return {}


def _detached(metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in metrics.items()}
