"""The Langevin sampler of ebmkit, which is imported as ``ebm``, with fused steps and compression.

    from effebm_ext.integrations.ebmkit import LangevinDynamics

takes the place of ``from ebm import LangevinDynamics``. It was tested with ebmkit 0.16.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from effebm_ext.integrations.chains import Chains, check_compression
from effebm_ext.limits import ClipValue
from effebm_ext.ops.compressor import Compressor

try:
    from ebm import samplers as ebm_samplers
    from ebm.utils import frozen_params
except ImportError as error:
    raise ImportError(
        "effebm_ext.integrations.ebmkit needs ebmkit: pip install ebmkit==0.16.0"
    ) from error

Energy = Callable[[Tensor], Tensor]


class LangevinDynamics(ebm_samplers.LangevinDynamics):
    """Samples by ``x <- clamp(x - h * C(clip(grad E)) + noise_scale * xi)``, where h is ebmkit's
    step_size; every step is one pass over memory (EFF-EBM, Algorithm 1).

    The losses and the trainer of ebmkit take it as they take their own sampler, and without a
    compressor it samples the same chains but for the random numbers and the rounding. The
    attributes may be changed between steps, but not ``error_feedback`` during :meth:`sample`.

    Args:
        step_size: h >= 0, which is gamma / 2 of :func:`effebm_ext.langevin_step_`.
        steps: the steps of :meth:`sample` unless it is told otherwise.
        noise_scale: standard deviation of the noise of a step; None: ``sqrt(2 h)``.
        grad_clip: limit > 0 of the elements of the gradient, or None.
        clamp: bounds ``(lower, upper)`` of the state after every step, or None.
        compressor: as in :func:`effebm_ext.langevin_step_`.
        error_feedback: feed what compression dropped back into the next step. The memory of it
            begins at zero with every call of :meth:`sample`, and what is returned are the samples
            of :meth:`effebm_ext.Langevin.samples`.

    Raises:
        ValueError: error_feedback has no compressor, or one whose error may grow. Other values
            that are out of range are found at the first step.
    """

    def __init__(
        self,
        step_size: float = 1e-2,
        steps: int = 100,
        noise_scale: float | None = None,
        grad_clip: float | None = None,
        clamp: tuple[float, float] | None = None,
        *,
        compressor: Compressor | None = None,
        error_feedback: bool = False,
    ) -> None:
        super().__init__(step_size, steps, noise_scale, grad_clip, clamp)
        check_compression(compressor, error_feedback)
        self.compressor, self.error_feedback = compressor, error_feedback

    def step(self, energy: Energy, x: Tensor) -> Tensor:
        """Returns the chains ``(n_chains, *event)`` after one step; x stays as it is.

        Raises:
            ValueError: the sampler has error_feedback, whose memory :meth:`sample` keeps.
        """
        if self.error_feedback:
            raise ValueError(
                "error_feedback: expected False for steps by themselves, which have no memory, as "
                "under ParallelTempering, got True"
            )
        chains = self._start(x)
        self._step_(energy, chains)
        return chains.samples()

    def sample(
        self,
        energy: Energy,
        x_init: Tensor,
        *,
        steps: int | None = None,
        return_trajectory: bool = False,
    ) -> Tensor:
        """Returns the chains ``(n_chains, *event)`` after ``steps`` steps from ``x_init``, or with
        return_trajectory all their states and the first, ``(steps + 1, n_chains, *event)``."""
        n_steps = self.steps if steps is None else steps
        chains = self._start(x_init)
        kept = [x_init.detach().clone()] if return_trajectory else []
        module = energy if isinstance(energy, nn.Module) else None
        with frozen_params(module), torch.enable_grad():
            for _ in range(n_steps):
                self._step_(energy, chains)
                if return_trajectory:
                    kept.append(chains.samples().clone())
        return torch.stack(kept) if return_trajectory else chains.samples()

    def _start(self, x: Tensor) -> Chains:
        clip = None if self.grad_clip is None else ClipValue(self.grad_clip)
        return Chains(
            x, self.compressor, error_feedback=self.error_feedback, clip=clip, bounds=self.clamp
        )

    def _step_(self, energy: Energy, chains: Chains) -> None:
        _, gradient = self._energy_grad(energy, chains.x)
        h, noise_std = self.step_size, self.noise_scale
        chains.step_(gradient, h, math.sqrt(2 * h) if noise_std is None else noise_std)
