"""Energy networks: tensors ``(n, *event)`` to energies ``(n,)``; low energy means likely.

Activations are smooth, so that the gradient a sampler follows is continuous. The last layer has no
bias: a constant in the energy changes nothing but the precision of differences.

With ``n_classes`` the read-out has one output per class, ``f(x)[y]``, and :func:`class_energy` says
what that means with labels and without.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from effebm_ext.layers import QuadraticHead, ResidualBlock, ShiftedSoftplus


class MLPEnergy(nn.Module):
    """A multilayer perceptron on the flattened event.

    Args:
        event_shape: shape of one sample, without the batch axis.
        width: units per hidden layer.
        depth: hidden layers, at least 1.
        n_classes: of labels ``y``; None: the energy takes none.
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

    A stride-1 convolution, then convolutions that halve the image while it is at least 4 pixels
    wide and high (at most ``max_halvings``), then a linear read-out of all that is left.

    Args:
        event_shape: ``(channels, height, width)``.
        width: features of the first layer; every halving doubles them.
        max_halvings: bounds the depth on large images.
        n_classes: of labels ``y``; None: the energy takes none.

    Raises:
        ValueError: event_shape has not three axes.
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


class ResNetEnergy(nn.Module):
    """A residual network with a quadratic head for images ``(channels, height, width)``, as score
    matching is done with (arXiv 1910.07762, 2007.03317).

    A convolution to ``width`` channels, then residual blocks, between which the image is halved by
    averages while it is at least 8 pixels wide and high (at most ``max_halvings``). Of all features
    h that are left the energy is ``(w1 h) (w2 h) + w3 h^2``. The activation is softplus, as smooth
    as second differences could ask for.

    Args:
        event_shape: ``(channels, height, width)``.
        width: channels of every layer.
        blocks: residual blocks of two convolutions each, at every size of the image.
        max_halvings: bounds the depth on large images.
        n_classes: of labels ``y``; None: the energy takes none.

    Raises:
        ValueError: event_shape has not three axes.
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


def class_energy(values: Tensor, y: Tensor | None = None) -> Tensor:
    """Energies ``(n,)`` from those of every class, ``values`` ``(n, n_classes)``.

    With labels ``y``, int64 ``(n,)``, ``E(x, y) = values[x, y]``. Without, the marginal energy
    ``-logsumexp_y(-E(x, y))``, whose density is the sum over the classes (JEM, Grathwohl et al.
    2020, with f = -E): a conditional energy is an unconditional one too. Training where data and
    chains have the same labels learns ``p(x | y)``; how the marginal weighs the classes against
    each other depends on their normalising constants, which such training leaves free.

    Raises:
        ValueError: y has another shape or dtype.
        IndexError, RuntimeError: a label is outside 0 to n_classes - 1.
    """
    if y is None:
        return -torch.logsumexp(-values, dim=1)
    if y.dtype != torch.int64 or y.shape != values.shape[:1]:
        raise ValueError(
            f"y: expected int64 labels of shape ({len(values)},), "
            f"got {y.dtype} of shape {tuple(y.shape)}"
        )
    return values.gather(1, y[:, None])[:, 0]


class GaussianBase(nn.Module):
    """An energy beside that of a Gaussian: ``net(x) + |x - mean|^2 / (2 std^2)``.

    Networks of this module grow linearly at most, so that ``exp(-E)`` then has a finite integral,
    whatever their parameters.

    Args:
        net: maps ``(n, *event)`` to ``(n,)``.
        mean, std: of every element; they are kept with the parameters, and not trained.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = self.net(x) + ((x - self.mean) / self.std).square().flatten(1).sum(1) / 2
        return values


def make_energy(
    kind: str,
    event_shape: Sequence[int],
    n_classes: int | None = None,
    base: tuple[float, float] | None = None,
) -> nn.Module:
    """``mlp``, ``conv``, ``resnet``, or ``auto``: conv for images of at least 8 x 8 pixels, else
    mlp. With ``n_classes`` it takes labels. ``base``: mean and standard deviation of a
    :class:`GaussianBase`.

    Raises:
        ValueError: kind is none of these, or conv or resnet is asked for what is not an image.
    """
    if kind == "auto":
        is_image = len(event_shape) == 3 and min(event_shape[1:]) >= 8
        kind = "conv" if is_image else "mlp"
    if kind not in _NETWORKS:
        raise ValueError(f"energy: expected auto, {', '.join(_NETWORKS)}, got {kind!r}")
    net = _NETWORKS[kind](event_shape, n_classes=n_classes)
    return net if base is None else GaussianBase(net, *base)


_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLPEnergy,
    "conv": ConvEnergy,
    "resnet": ResNetEnergy,
}


def energy_and_gradient(
    energy: Callable[..., Tensor], x: Tensor, energy_kwargs: Mapping[str, Any] | None = None
) -> tuple[Tensor, Tensor]:
    """Energies ``(n,)`` at ``x`` ``(n, *event)`` and their gradient with respect to x.

    Nothing is added to the ``grad`` of the energy's parameters, and neither result carries a graph.
    An energy may return ``(n,)`` or ``(n, 1)``; ``energy_kwargs``, such as labels, go to it.

    Raises:
        ValueError: the energy returns another shape.
        RuntimeError: the energy does not depend on x.
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaf = _for_autograd(x.detach()).requires_grad_()
        kwargs = {name: _for_autograd(value) for name, value in (energy_kwargs or {}).items()}
        values = per_chain(energy(leaf, **kwargs), x.shape[0])
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), gradient


def score_of(energy: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The score ``-grad E`` of an energy, as a function of ``x`` ``(n, *event)`` and the energy's
    keyword arguments. It can be differentiated again, by x where that requires grad and by the
    parameters, unless it is called under ``torch.no_grad()``."""

    def score(x: Tensor, **energy_kwargs: Any) -> Tensor:
        differentiated = torch.is_grad_enabled()
        with torch.enable_grad():
            leaf = x if x.requires_grad else x.detach().requires_grad_()
            values = per_chain(energy(leaf, **energy_kwargs), len(leaf))
            (gradient,) = torch.autograd.grad(values.sum(), leaf, create_graph=differentiated)
        return -gradient

    return score


def _for_autograd(value: Any) -> Any:
    """Autograd cannot save tensors made in inference mode, but it can their copies."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def per_chain(values: Tensor, n_chains: int) -> Tensor:
    """Energies as ``(n_chains,)``, whether they came as that or as ``(n_chains, 1)``."""
    if values.shape not in ((n_chains,), (n_chains, 1)):
        raise ValueError(
            f"energy: expected one value per chain, shape ({n_chains},), "
            f"got shape {tuple(values.shape)}"
        )
    return values.reshape(n_chains)


def denoise(
    energy: Callable[..., Tensor],
    x: Tensor,
    noise_std: float,
    energy_kwargs: Mapping[str, Any] | None = None,
) -> Tensor:
    """``x - noise_std**2 * grad E(x)``: the mean of the clean data behind noisy samples ``x``.

    Exact if ``exp(-E)`` is the density of data plus Gaussian noise of ``noise_std`` (Tweedie's
    formula), which is what an energy trained with data noise approximates. ``energy_kwargs`` as in
    :func:`energy_and_gradient`.
    """
    return x - noise_std**2 * energy_and_gradient(energy, x, energy_kwargs)[1]
