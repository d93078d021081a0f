"""Signs that chains are not samples of their energy: the virial and the Stein discrepancy."""

from __future__ import annotations

import torch
from torch import Tensor

from effebm_ext.energies import energy_and_gradient, frozen
from effebm_ext.evaluation.stein import SteinDiscrepancy, kernel_stein_discrepancy
from effebm_ext.evaluation.virial import virial
from effebm_ext.runs.config import TrainConfig
from effebm_ext.training import Trainer

_CHAINS = 256  # of the metrics, at most


def bias_of_chains(config: TrainConfig, trainer: Trainer) -> dict[str, float]:
    """Returns ``ksd``, the kernel Stein discrepancy of the chains from the energy by which they
    move, and their ``virial``, from one gradient at 256 chains at most.

    Nothing is returned before chains have moved, for chains that are samples of no density on the
    whole space (within bounds, or with a noise of their own), and for what is not finite. The
    discrepancy is left out if chains are copies of others.

    Args:
        config: the resolved configuration of the run.
        trainer: the trainer of the run, which stays as it is.
    """
    state = trainer.state
    n = min(len(state.x), _CHAINS)
    if n < 2 or state.step == 0 or not config.has_density_of_chains:
        return {}
    some = state.take(torch.arange(n, device=state.x.device))
    with torch.random.fork_rng(devices=[]), frozen(trainer.energy):
        gradient = energy_and_gradient(trainer.energy, some.x, some.energy_kwargs)[1]
    gradient = gradient / config.chain_temperature
    if not bool(some.x.isfinite().all() and gradient.isfinite().all()):
        return {}
    found = {"virial": virial(some.x, gradient).value}
    stein = stein_discrepancy(some.x, gradient)
    return found if stein is None else {**found, "ksd": stein.ksd}


def stein_discrepancy(
    x: Tensor, gradient: Tensor, generator: torch.Generator | None = None
) -> SteinDiscrepancy | None:
    """Returns the kernel Stein discrepancy of chains ``(n, *event)`` with the gradient of the
    energy there; None for fewer than two chains, and if some are copies, as walkers that were
    resampled are, since the discrepancy is that of independent samples."""
    if len(x) < 2 or len(torch.unique(x.flatten(1), dim=0)) < len(x):
        return None
    return kernel_stein_discrepancy(x, -gradient, generator=generator)
