"""Parts of the residual energy network."""

from __future__ import annotations

import math

from torch import Tensor, nn


class ShiftedSoftplus(nn.Module):
    """``log(1 + exp x) - log 2``: smooth, and zero at zero."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.softplus(x) - math.log(2)


class ResidualBlock(nn.Module):
    """``x + conv(act(conv(act(x))))`` of ``(n, width, height, breadth)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            ShiftedSoftplus(),
            nn.Conv2d(width, width, 3, padding=1),
            ShiftedSoftplus(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class QuadraticHead(nn.Module):
    """``(w1 h) (w2 h) + w3 h^2`` of features h ``(n, n_features)``: ``(n, n_outputs)``."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(n_features, n_outputs, bias=False)
        self.second = nn.Linear(n_features, n_outputs, bias=False)
        self.of_squares = nn.Linear(n_features, n_outputs, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.first(h) * self.second(h) + self.of_squares(h.square())
        return out
