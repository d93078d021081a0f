"""Chains that move by fused steps, in the notation of the other libraries."""

from __future__ import annotations

import torch
from torch import Tensor

import effebm_ext as eff
from effebm_ext.limits import Bounds, Clip
from effebm_ext.ops.checks import check_shrinks, compute_dtype
from effebm_ext.ops.compressor import Compressor
from effebm_ext.rng import Rng


def check_compression(compressor: Compressor | None, error_feedback: bool) -> None:
    """Raises a ValueError if there is nothing to feed back, or if it would grow."""
    if error_feedback and compressor is None:
        raise ValueError("error_feedback: expected a compressor with it, got compressor=None")
    if error_feedback:
        check_shrinks(compressor, "error_feedback")


class Chains:
    """Chains that move by ``x <- bounds(x - h * C(clip(grad)) + noise_std * xi)``, the step of
    :func:`effebm_ext.langevin_step_` with ``gamma = 2 h``.

    Args:
        x: where the chains start, ``(n_chains, *event)``; copied.
        compressor, clip, bounds: as in :func:`effebm_ext.langevin_step_`.
        error_feedback: feed what compression dropped back into the next step.
    """

    def __init__(
        self,
        x: Tensor,
        compressor: Compressor | None,
        *,
        error_feedback: bool,
        clip: Clip | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self.x = x.detach().clone()
        self.residual: Tensor | None = None
        if error_feedback:
            self.residual = torch.zeros_like(self.x, dtype=compute_dtype(x.dtype))
        self._compressor, self._clip, self._bounds = compressor, clip, bounds
        self._last_h = 0.0

    def step_(self, grad: Tensor, h: float, noise_std: float, rng: Rng = None) -> None:
        """Makes one step in place, along a gradient of the shape of x."""
        eff.langevin_step_(
            self.x,
            grad.to(self.x.dtype),
            2 * h,
            compressor=self._compressor,
            noise_std=noise_std,
            clip=self._clip,
            bounds=self._bounds,
            residual=self.residual,
            rng=rng,
        )
        self._last_h = h

    def samples(self) -> Tensor:
        """Returns the chains as samples of the target: x itself, or with error feedback a new
        tensor ``x - h / 2 * residual`` within the bounds, as :meth:`effebm_ext.Langevin.samples`
        has it."""
        if self.residual is None:
            return self.x
        residual = self.residual.to(self.x.dtype)
        return eff.langevin_step(self.x, residual, self._last_h, noise_std=0.0, bounds=self._bounds)
