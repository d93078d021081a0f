"""A perceptron and a plain convolutional network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from effebm_ext.networks.parts import image_shape, read_out


class MLPEnergy(nn.Module):
    """A multilayer perceptron on the flattened event.

    Args:
        event_shape: shape of one sample, without the batch axis.
        width: units per hidden layer.
        depth: hidden layers, at least 1.
        n_classes: number of classes of the labels ``y``; None: the energy takes no labels.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        width: int = 256,
        depth: int = 3,
        n_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        sizes = [math.prod(event_shape), *[width] * depth]
        layers: list[nn.Module] = [nn.Flatten()]
        for n_in, n_out in itertools.pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.SiLU()]
        self.net = nn.Sequential(*layers, nn.Linear(width, n_classes or 1, bias=False))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return read_out(self.net(x), y, self.n_classes)


class ConvEnergy(nn.Module):
    """A small convolutional network for images ``(channels, height, width)``.

    It has a stride-1 convolution, then convolutions that halve the image while it is at least 4
    pixels wide and high (at most ``max_halvings``), then a linear read-out of all features.

    Args:
        event_shape: ``(channels, height, width)``.
        width: features of the first layer; every halving doubles them.
        max_halvings: bounds the depth on large images.
        n_classes: number of classes of the labels ``y``; None: the energy takes no labels.

    Raises:
        ValueError: event_shape does not have three axes.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        width: int = 16,
        max_halvings: int = 4,
        n_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        channels, height, breadth = image_shape(event_shape)
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.SiLU()]
        for _ in range(max_halvings):
            if min(height, breadth) < 4:
                break
            layers += [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.SiLU()]
            width, height, breadth = 2 * width, (height + 1) // 2, (breadth + 1) // 2
        read_out = nn.Linear(width * height * breadth, n_classes or 1, bias=False)
        layers += [nn.Flatten(), read_out]
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return read_out(self.net(x), y, self.n_classes)
