"""Maximum likelihood by weighted walkers (arXiv 2305.19414)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from effebm_ext.chains.accompanied import AccompaniedWalkers
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.energies import energies_at
from effebm_ext.losses.contrastive import contrastive_divergence
from effebm_ext.objectives.objective import Loss, checked_langevin_steps
from effebm_ext.shown import as_call


class Jarzynski:
    """Steps the parameters along ``mean E(data) - sum_i w_i E(X_i)``, whose gradient is the
    gradient of the cross-entropy, then lets the walkers follow.

    The loss uses the weights before the walkers move, which belong to the same parameters as the
    gradient.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``: a function of only x and its
            parameters, whose ``exp(-E)`` has a finite integral.
        walkers: the walkers, which move by this energy.
        langevin_steps: steps of the walkers per iteration, at least 1.
        energy_l2: weight of the squared energies in the loss. Above 0 the loss no longer has the
            gradient of the cross-entropy.
        followers: walkers that move by this energy beside the others and never enter the gradient,
            so that they estimate log Z without the bias of walkers that train the parameters. They
            change nothing in the training. They need a key of their own.

    Raises:
        TypeError: walkers are no WeightedWalkers.
        TypeError, ValueError: langevin_steps is no integer, or below 1; followers are none, see
            :class:`effebm_ext.chains.accompanied.AccompaniedWalkers`.
    """

    def __init__(
        self,
        energy: nn.Module,
        walkers: WeightedWalkers,
        *,
        langevin_steps: int,
        energy_l2: float = 0.0,
        followers: WeightedWalkers | None = None,
    ) -> None:
        if not isinstance(walkers, WeightedWalkers):
            raise TypeError(f"walkers: expected WeightedWalkers, got {type(walkers).__name__}")
        self.energy = energy
        self.walkers, self.followers = walkers, followers
        self.chains: WeightedWalkers | AccompaniedWalkers = walkers
        if followers is not None:
            self.chains = AccompaniedWalkers(walkers, followers)
        self.langevin_steps, self.energy_l2 = checked_langevin_steps(langevin_steps), energy_l2

    __repr__ = as_call

    @property
    def labels(self) -> Tensor | None:
        """None: weighted walkers have no classes."""
        return None

    def advance(self) -> None:
        """Does nothing: the walkers move after the parameters do."""

    def loss(self, data: Tensor, labels: dict[str, Tensor]) -> Loss:
        """Returns ``mean E(data) - sum_i w_i E(X_i)``, with the energies of both, log Z, and the
        cross-entropy ``log Z + mean E(data)`` of the batch. If there are followers, log Z is also
        theirs, ``following_log_z``; the cross-entropy is found with it, and has a standard error,
        ``cross_entropy_error``, if the batch has two rows or more and the followers do not all
        descend from one of them."""
        x, weights = self.walkers.walkers.x, self.walkers.weights
        if bool((weights == 0).any()):  # an energy there may be infinite
            x, weights = x[weights != 0], weights[weights != 0]
        data_energy = energies_at(self.energy, data, labels)
        sample_energy = energies_at(self.energy, x)
        loss, gap = contrastive_divergence(
            data_energy, sample_energy, energy_l2=self.energy_l2, weights=weights
        )
        mean, log_z = data_energy.detach().mean(), self.walkers.log_z
        metrics = {
            "energy_gap": gap,
            "data_energy": mean,
            "sample_energy": mean + gap,
            "log_z": mean.new_tensor(log_z),
            "cross_entropy": log_z + mean,
        }
        if self.followers is not None:
            metrics |= _by_followers(self.followers, data_energy.detach())
        return Loss(loss, metrics)

    def parameters_moved(self) -> dict[str, float]:
        """Lets the walkers follow and returns metrics: ``ess``, the effective sample size of the
        weights before resampling; ``resampled``, 1 if the walkers were resampled; the
        ``acceptance`` of adjusted steps; ``n_diverged`` if diverged walkers do not raise an error;
        and ``following_ess`` of the followers, if there are any."""
        seen = self.walkers.advance(self.langevin_steps)
        metrics = {"ess": seen.ess, "resampled": float(seen.resampled)}
        if seen.acceptance is not None:
            metrics["acceptance"] = seen.acceptance
        if self.walkers.on_divergence != "raise":
            metrics["n_diverged"] = float(seen.n_diverged)
        if self.followers is not None:
            metrics["following_ess"] = self.followers.advance(self.langevin_steps).ess
        return metrics


def _by_followers(followers: WeightedWalkers, data_energy: Tensor) -> dict[str, Tensor]:
    """Returns the metrics for which followers stand, of the energies ``(n,)`` of a batch."""
    log_z, n = followers.log_z, len(data_energy)
    metrics = {
        "following_log_z": data_energy.new_tensor(log_z),
        "cross_entropy": log_z + data_energy.mean(),
    }
    error = math.inf
    if n > 1:
        error = math.hypot(followers.log_z_error, float(data_energy.std()) / math.sqrt(n))
    if error < math.inf:
        metrics["cross_entropy_error"] = data_energy.new_tensor(error)
    return metrics
