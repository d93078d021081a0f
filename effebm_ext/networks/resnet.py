"""A residual network with a quadratic head."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from effebm_ext.networks.parts import image_shape, read_out


class ShiftedSoftplus(nn.Module):
    """The activation ``log(1 + exp x) - log 2``, which is smooth, and zero at zero."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.softplus(x) - math.log(2)


class ResidualBlock(nn.Module):
    """The block ``x + conv(act(conv(act(x))))`` for x ``(n, width, height, breadth)``."""

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
    """The read-out ``(w1 h) (w2 h) + w3 h^2``, from features h ``(n, n_features)`` to
    ``(n, n_outputs)``."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(n_features, n_outputs, bias=False)
        self.second = nn.Linear(n_features, n_outputs, bias=False)
        self.of_squares = nn.Linear(n_features, n_outputs, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.first(h) * self.second(h) + self.of_squares(h.square())
        return out


class ResNetEnergy(nn.Module):
    """A residual network with a quadratic head for images ``(channels, height, width)``, as used in
    score matching (arXiv 1910.07762, 2007.03317).

    It has a convolution to ``width`` channels, then residual blocks, between which averages halve
    the image while it is at least 8 pixels wide and high (at most ``max_halvings``). From all final
    features h the energy is ``(w1 h) (w2 h) + w3 h^2``. The activation is softplus, which is smooth
    enough for second differences.

    Args:
        event_shape: ``(channels, height, width)``.
        width: channels of every layer.
        blocks: residual blocks of two convolutions each, at every size of the image.
        max_halvings: bounds the depth on large images.
        n_classes: number of classes of the labels ``y``; None: the energy takes no labels.

    Raises:
        ValueError: event_shape does not have three axes.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        width: int = 64,
        blocks: int = 1,
        max_halvings: int = 2,
        n_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        channels, height, breadth = image_shape(event_shape)
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        layers += [ResidualBlock(width) for _ in range(blocks)]
        for _ in range(max_halvings):
            if min(height, breadth) < 8:
                break
            layers += [nn.AvgPool2d(2), *(ResidualBlock(width) for _ in range(blocks))]
            height, breadth = height // 2, breadth // 2
        head = QuadraticHead(width * height * breadth, n_classes or 1)
        self.net = nn.Sequential(*layers, ShiftedSoftplus(), nn.Flatten(), head)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return read_out(self.net(x), y, self.n_classes)
