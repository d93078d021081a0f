"""Energy networks map tensors ``(n, *event)`` to energies ``(n,)``; low energy means likely.

Activations are smooth, so that the gradient that a sampler follows is continuous. The last layer
has no bias: a constant in the energy only changes the precision of differences.

With ``n_classes`` the read-out has one output per class, ``f(x)[y]``;
:func:`effebm_ext.energies.class_energy` says what the energy is with labels and without.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from effebm_ext.energies import class_energy, per_chain


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
        return _read_out(self.net(x), y, self.n_classes)


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
        channels, height, breadth = _image_shape(event_shape)
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
        return _read_out(self.net(x), y, self.n_classes)


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
        channels, height, breadth = _image_shape(event_shape)
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
        return _read_out(self.net(x), y, self.n_classes)


def _image_shape(event_shape: Sequence[int]) -> tuple[int, int, int]:
    if len(event_shape) != 3:
        raise ValueError(
            f"event_shape: expected (channels, height, width), got {tuple(event_shape)}"
        )
    channels, height, width = event_shape
    return channels, height, width


def _read_out(values: Tensor, y: Tensor | None, n_classes: int | None) -> Tensor:
    if n_classes is not None:
        return class_energy(values, y)
    if y is not None:
        raise ValueError("y: expected no labels, the energy was made without n_classes")
    return values.squeeze(1)


class GaussianBase(nn.Module):
    """A network plus the energy of a Gaussian: ``net(x) + |x - mean|^2 / (2 std^2)``.

    :class:`MLPEnergy` and :class:`ConvEnergy` grow at most linearly, so ``exp(-E)`` has a finite
    integral, whatever their parameters are. :class:`ResNetEnergy`, whose head is quadratic, may
    fall faster than the Gaussian rises.

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


def make_energy(
    kind: str,
    event_shape: Sequence[int],
    n_classes: int | None = None,
    base: tuple[float, float] | None = None,
    *,
    width: int | None = None,
    depth: int | None = None,
) -> nn.Module:
    """Makes an energy of a kind: ``mlp``, ``conv``, ``resnet``, or ``auto``, which is conv for
    images of at least 8 x 8 pixels and else mlp.

    Args:
        kind: one of these names.
        event_shape: shape of one sample, without the batch axis.
        n_classes: number of classes of the labels that the energy takes; None: it takes none.
        base: mean and standard deviation of a :class:`GaussianBase`; None: there is no base.
        width: the argument ``width`` of the network, at least 1; None: the network's own default.
        depth: ``depth`` of mlp, ``max_halvings`` of conv or ``blocks`` of resnet, at least 1; None:
            the network's own default.

    Raises:
        ValueError: kind is none of these, conv or resnet is asked for what is not an image, or
            width or depth is below 1.
    """
    if kind == "auto":
        is_image = len(event_shape) == 3 and min(event_shape[1:]) >= 8
        kind = "conv" if is_image else "mlp"
    if kind not in _NETWORKS:
        raise ValueError(f"energy: expected {', '.join(ENERGIES)}, got {kind!r}")
    network, depth_name = _NETWORKS[kind]
    sizes = {}
    for name, argument, value in (("width", "width", width), ("depth", depth_name, depth)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
        if value is not None:
            sizes[argument] = value
    net = network(event_shape, n_classes=n_classes, **sizes)
    return net if base is None else GaussianBase(net, *base)


# Every network with the name of the argument that is its depth.
_NETWORKS: dict[str, tuple[Callable[..., nn.Module], str]] = {
    "mlp": (MLPEnergy, "depth"),
    "conv": (ConvEnergy, "max_halvings"),
    "resnet": (ResNetEnergy, "blocks"),
}
ENERGIES = ("auto", *_NETWORKS)
