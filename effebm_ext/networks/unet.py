"""An energy whose gradient is a denoiser: the squared distance to what a network makes of x."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from effebm_ext.energies import class_energy
from effebm_ext.networks.parts import image_shape

_LEAST_SIDE = 2  # pixels, of an image that can be halved


class SmoothBlock(nn.Module):
    """The block ``x + conv(silu(conv(silu(x))))`` for x ``(n, width, height, breadth)``, which is
    ``x`` at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Conv2d(width, width, 3, padding=1)
        _set_to_zero(last)
        first = nn.Conv2d(width, width, 3, padding=1)
        self.branch = nn.Sequential(nn.SiLU(), first, nn.SiLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class UNetEnergy(nn.Module):
    """The energy ``|x - f(x)|^2 / (2 s^2)`` with f a U-Net, for images ``(channels, height,
    width)`` (Salimans and Ho 2021, Should EBMs model the energy or the score?).

    Its gradient is ``(x - f(x)) / s^2`` less a correction by the Jacobian of f, so that f learns to
    take noise off. The scale s is learned too. The U-Net (Ronneberger et al. 2015) halves the
    image, has residual blocks at every size, and leads back up; what it saw at a size is added
    there. The image is halved once, then while it is at least 4 pixels wide and high (at most
    ``max_halvings`` in all). At first f is zero, and the energy is that of a Gaussian.

    Args:
        event_shape: ``(channels, height, width)``, at least 2 pixels wide and high.
        width: channels at half the size; every other halving doubles them.
        blocks: residual blocks of two convolutions each, at every size on either way.
        max_halvings: bounds the depth on large images, at least 1.
        scale: the s at first, > 0. The standard deviation of the data's noise suits it.
        n_classes: number of classes of the labels ``y``; None: the energy takes no labels. Every
            class adds a linear read-out of the features of the smallest size.

    Raises:
        ValueError: event_shape does not have three axes, or a side of it is below 2 pixels.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        width: int = 32,
        blocks: int = 1,
        max_halvings: int = 3,
        scale: float = 0.3,
        n_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        channels, height, breadth = image_shape(event_shape, _LEAST_SIDE)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.shrink, self.down = nn.ModuleList(), nn.ModuleList()
        self.up, self.enlarge = nn.ModuleList(), nn.ModuleList()
        wide = channels
        for level in range(max_halvings):
            if level and min(height, breadth) < 4:
                break
            narrow, wide = wide, width * 2**level
            height, breadth = height // 2, breadth // 2
            self.shrink.append(nn.Conv2d(narrow, wide, 4, stride=2, padding=1))
            self.down.append(_blocks(wide, blocks))
            self.up.append(_blocks(wide, blocks))
            enlarge = nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1)
            if level == 0:
                _set_to_zero(enlarge)  # f is zero at first
            self.enlarge.append(enlarge)
        if n_classes is not None:
            self.read_out = nn.Linear(wide * height * breadth, n_classes, bias=False)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        if self.n_classes is None and y is not None:
            raise ValueError("y: expected no labels, the energy was made without n_classes")
        denoised, smallest = self.denoised(x)
        precision = torch.exp(-2 * self.log_scale)
        energy = precision * (x - denoised).square().flatten(1).sum(1) / 2
        if self.n_classes is None:
            return energy
        features = nn.functional.silu(smallest).flatten(1)
        return energy + class_energy(self.read_out(features), y)

    def denoised(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns f at ``x``, of x's shape, and the features of the smallest size."""
        seen = [x]
        for shrink, blocks in zip(self.shrink, self.down, strict=True):
            seen.append(blocks(shrink(seen[-1])))
        smallest = h = seen.pop()
        steps = zip(reversed(self.up), reversed(self.enlarge), reversed(seen), strict=True)
        for blocks, enlarge, larger in steps:
            h = enlarge(nn.functional.silu(blocks(h)), output_size=larger.shape[2:])
            if larger is not x:
                h = h + larger
        return h, smallest


def _blocks(width: int, n: int) -> nn.Sequential:
    return nn.Sequential(*(SmoothBlock(width) for _ in range(n)))


def _set_to_zero(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
