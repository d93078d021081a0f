"""The Gaussian base of an energy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from effebm_ext.energies import per_chain


class GaussianBase(nn.Module):
    """A network plus the energy of a Gaussian: ``net(x) + |x - mean|^2 / (2 std^2)``.

    :class:`~effebm_ext.networks.MLPEnergy` and :class:`~effebm_ext.networks.ConvEnergy` grow at
    most linearly, and :class:`~effebm_ext.networks.UNetEnergy` falls at most linearly, so
    ``exp(-E)`` has a finite integral, whatever their parameters are.
    :class:`~effebm_ext.networks.ResNetEnergy`, whose head is quadratic, may fall faster than the
    Gaussian rises.

    Args:
        net: maps ``(n, *event)``, and labels ``y`` if it takes them, to ``(n,)`` or ``(n, 1)``.
        mean, std: mean and standard deviation of every element; they are kept with the parameters,
            and not trained.

    Raises:
        ValueError: ``net`` returns another shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        values: Tensor = self.net(x) if y is None else self.net(x, y=y)
        base = ((x - self.mean) / self.std).square().flatten(1).sum(1) / 2
        return per_chain(values, len(x)) + base
