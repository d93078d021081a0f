"""Score matching fits the score of the model to the score of the data, without samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from effebm_ext import losses
from effebm_ext.chains.intermittent import IntermittentChains
from effebm_ext.energies import score_of
from effebm_ext.losses import ScoreMatchingLoss
from effebm_ext.losses.arguments import positive
from effebm_ext.objectives.objective import Loss, Watched, chain_metrics, checked_langevin_steps
from effebm_ext.rng import Key
from effebm_ext.shown import as_call

_LOSSES: dict[str, Callable[..., ScoreMatchingLoss]] = {
    "sm": losses.sm,
    "ssm": losses.ssm,
    "ssm-vr": losses.ssm_vr,
    "dsm": losses.dsm,
    "fd-ssm": losses.fd_ssm,
    "fd-ssm-vr": losses.fd_ssm_vr,
    "fd-dsm": losses.fd_dsm,
}
METHODS = tuple(_LOSSES)
DENOISING = ("dsm", "fd-dsm")  # they add the noise to the data themselves
_OF_ENERGIES = ("fd-ssm", "fd-dsm")  # the others take a score


class ScoreMatching:
    """Trains an energy by any loss of score matching. A loss that takes a score gets ``-grad E`` by
    automatic differentiation.

    The loss needs no chains. They are moved now and then, so that there are samples.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``, given the chains' energy_kwargs.
        chains: the chains, which move by this energy.
        method: sm, ssm, ssm-vr, dsm, fd-ssm, fd-ssm-vr or fd-dsm (:mod:`effebm_ext.losses`).
        key: names the directions and the noise; iteration i, as :meth:`advance` counts them, draws
            by ``key.at(i)``. The chains' noise must come from another seed.
        langevin_steps: steps of the chains in one move, at least 1.
        epsilon: the step of finite differences, > 0.
        sigma: the standard deviation of the noise in denoising, > 0; the other methods have none.
        sigma_end: the last of several scales in denoising, > 0: the standard deviation goes
            linearly over the batch from sigma to this. With None all rows have noise of sigma, and
            the score of data with this noise is learnt.

    With a sigma_end the loss is ``mean |s(y) + (y - x) / sigma^2|^2 / scale^2`` over noisy data
    ``y = x + scale * xi``. It is least for ``s(y) = (E'[x | y] - y) / sigma^2``, where E' is the
    expectation under ``p(x) * sum over scales of scale^-2 N(y; x, scale^2 I)``, normalised: small
    scales count more than in the mixture of the noisy densities. This is a field that denoises, and
    the score of none of these densities. (For data of N(0, c^2) the loss over all ``s = -a y`` is
    least at ``a sigma^2 = 1 / (1 + c^2 * mean(scale^-2))``.)

    Raises:
        TypeError: chains are no IntermittentChains; langevin_steps, epsilon, sigma or sigma_end is
            no number.
        ValueError: method is none of these; langevin_steps is below 1; denoising without a sigma;
            epsilon, sigma or sigma_end is not positive and finite.
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
        if method not in METHODS:
            raise ValueError(f"method: expected {', '.join(METHODS)}, got {method!r}")
        if method in DENOISING and sigma is None:
            raise ValueError(f"sigma: expected a number > 0 with {method}, got None")
        if not isinstance(chains, IntermittentChains):
            raise TypeError(
                "chains: expected IntermittentChains, which count the iterations, "
                f"got {type(chains).__name__}"
            )
        self.energy, self.chains, self.method = energy, chains, method
        self.key, self.langevin_steps = key, checked_langevin_steps(langevin_steps)
        self.epsilon = positive(epsilon, "epsilon")
        self.sigma = positive(sigma, "sigma") if method in DENOISING else None
        self.sigma_end = None if sigma_end is None else positive(sigma_end, "sigma_end")
        self._sample_energy: Tensor | None = None
        self._seen: dict[str, Tensor] = {}

    __repr__ = as_call

    @property
    def labels(self) -> Tensor | None:
        """None: the loss compares a batch with no samples."""
        return None

    def advance(self) -> None:
        """Moves the chains by ``langevin_steps`` if it is their turn."""
        info = self.chains.advance(self.langevin_steps)
        energy = None if info is None else info.energy
        self._sample_energy = None if energy is None else energy.mean()
        sampler = self.chains.sampler
        self._seen = {} if info is None else chain_metrics(sampler, info)

    def loss(self, data: Tensor, labels: dict[str, Tensor]) -> Loss:
        """Returns the loss with its terms and energies as metrics: the energies of the data where
        the loss evaluated them and, if the chains have just moved, their energies and the metrics
        of their steps."""
        energy = Watched(self.energy)
        options: dict[str, Any] = {"energy_kwargs": labels}
        if self.method != "sm":
            options["rng"] = self.key.at(self.chains.calls)
        if self.method.startswith("fd-"):
            options["epsilon"] = self.epsilon
        if self.method in DENOISING:
            options |= self._noise(data)
        network = energy if self.method in _OF_ENERGIES else score_of(energy)
        value, terms = _LOSSES[self.method](network, data, **options)
        metrics = {**terms, "data_energy": energy.mean(), **self._seen}
        if self._sample_energy is not None:
            metrics["sample_energy"] = self._sample_energy
            metrics["energy_gap"] = self._sample_energy - energy.mean()
        return Loss(value, metrics)

    def parameters_moved(self) -> dict[str, float]:
        """Does nothing: the chains follow later."""
        return {}

    def _noise(self, data: Tensor) -> dict[str, Any]:
        if self.sigma_end is None:
            return {"sigma": self.sigma}
        assert self.sigma is not None
        scales = torch.linspace(self.sigma, self.sigma_end, len(data), device=data.device)
        return {"sigma": scales, "base_sigma": self.sigma}
