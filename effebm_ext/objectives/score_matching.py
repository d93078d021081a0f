"""Score matching: the score of the model is fitted to that of the data, without samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from effebm_ext import losses
from effebm_ext.config import DENOISING, SCORE_MATCHING
from effebm_ext.energies import score_of
from effebm_ext.losses import ScoreMatchingLoss
from effebm_ext.objectives.objective import Loss
from effebm_ext.rng import Key
from effebm_ext.walkers.intermittent import IntermittentChains

_LOSSES: dict[str, Callable[..., ScoreMatchingLoss]] = {
    "sm": losses.sm,
    "ssm": losses.ssm,
    "ssm-vr": losses.ssm_vr,
    "dsm": losses.dsm,
    "fd-ssm": losses.fd_ssm,
    "fd-ssm-vr": losses.fd_ssm_vr,
    "fd-dsm": losses.fd_dsm,
}
_OF_ENERGIES = ("fd-ssm", "fd-dsm")  # the others take a score


class ScoreMatching:
    """Any loss of score matching, of an energy: what takes a score gets ``-grad E``, by automatic
    differentiation.

    The loss needs no chains. Now and then they are moved, so that there are samples.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``, given the chains' energy_kwargs.
        chains: move by this energy.
        method: sm, ssm, ssm-vr, dsm, fd-ssm, fd-ssm-vr or fd-dsm (:mod:`effebm_ext.losses`).
        key: of the directions and the noise; iteration i, as :meth:`advance` counts them, draws by
            ``key.at(i)``. The chains' noise must come from another seed.
        langevin_steps: of the chains, whenever they move.
        epsilon: of finite differences.
        sigma: of denoising: the standard deviation of the noise.
        sigma_end: of denoising: the batch's noise goes linearly from sigma to this, and what is
            learnt is ``(E[x | y] - y) / sigma^2`` with x the data and y under the mixture of these
            scales: the field that denoises, and not the score of any of the noisy densities; None:
            the noise is the same all over, and it is the score of data with that noise.

    Raises:
        ValueError: method is none of these, or denoising without a sigma > 0.
    """

    def __init__(
        self,
        energy: nn.Module,
        chains: IntermittentChains,
        method: str,
        *,
        key: Key,
        langevin_steps: int,
        epsilon: float = 0.1,
        sigma: float | None = None,
        sigma_end: float | None = None,
    ) -> None:
        if method not in SCORE_MATCHING:
            raise ValueError(f"method: expected {', '.join(SCORE_MATCHING)}, got {method!r}")
        if method in DENOISING and not (sigma or 0) > 0:
            raise ValueError(f"sigma: expected a number > 0 with {method}, got {sigma}")
        self.energy, self.chains, self.method = energy, chains, method
        self.key, self.langevin_steps, self.epsilon = key, langevin_steps, epsilon
        self.sigma, self.sigma_end = sigma, sigma_end
        self._sample_energy: Tensor | None = None

    @property
    def labels(self) -> Tensor | None:
        """None: there are no samples that a batch is held against."""
        return None

    def advance(self) -> None:
        """``langevin_steps`` of the chains if it is their turn."""
        info = self.chains.advance(self.langevin_steps)
        energy = None if info is None else info.energy
        self._sample_energy = None if energy is None else energy.mean()

    def loss(self, data: Tensor, labels: dict[str, Tensor]) -> Loss:
        """The loss and its terms, and the energies: of the data, where the loss asked for them, and
        of the chains if these have just moved."""
        energy = _Watched(self.energy)
        options: dict[str, Any] = {"energy_kwargs": labels}
        if self.method != "sm":
            options["rng"] = self.key.at(self.chains.calls)
        if self.method.startswith("fd-"):
            options["epsilon"] = self.epsilon
        if self.method in DENOISING:
            options |= self._noise(data)
        network = energy if self.method in _OF_ENERGIES else score_of(energy)
        value, terms = _LOSSES[self.method](network, data, **options)
        metrics = {**terms, "data_energy": energy.mean}
        if self._sample_energy is not None:
            metrics["sample_energy"] = self._sample_energy
            metrics["energy_gap"] = self._sample_energy - energy.mean
        return Loss(value, metrics)

    def parameters_moved(self) -> dict[str, float]:
        """Nothing: the chains follow later."""
        return {}

    def _noise(self, data: Tensor) -> dict[str, Any]:
        if self.sigma_end is None:
            return {"sigma": self.sigma}
        assert self.sigma is not None
        scales = torch.linspace(self.sigma, self.sigma_end, len(data), device=data.device)
        return {"sigma": scales, "base_sigma": self.sigma}


class _Watched:
    """An energy, and the mean of the energies it gave last."""

    def __init__(self, energy: nn.Module) -> None:
        self.energy = energy
        self.mean = torch.zeros(())

    def __call__(self, x: Tensor, **energy_kwargs: Any) -> Tensor:
        values: Tensor = self.energy(x, **energy_kwargs)
        self.mean = values.detach().mean()
        return values
