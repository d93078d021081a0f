"""IGEBM (Du and Mordatch 2019): an energy of images, trained by short chains of a replay buffer.

    python examples/igebm.py --quick

The update of the chains is one fused op; ``igebm_chains`` of originals.py writes it by hand.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

import effebm_ext as eff

SIZE = 12  # pixels
# Of the paper: the step size h, the standard deviation of the noise, and the clip of the gradient.
SETTING = {"step_size": 10.0, "noise_std": 0.005, "clip": 0.01}


def move_chains(
    x: Tensor,
    energy: Callable[[Tensor], Tensor],
    steps: int,
    *,
    step_size: float,
    noise_std: float,
    clip: float,
) -> Tensor:
    """Returns images in [0, 1] after so many steps from ``x``, which stays as it is."""
    x = x.clone()
    for _ in range(steps):
        x.requires_grad_()
        (grad,) = torch.autograd.grad(energy(x).sum(), x)
        x = x.detach()
        eff.langevin_step_(
            x,
            grad,
            2 * step_size,
            noise_std=noise_std,
            clip=eff.ClipValue(clip),
            bounds=(0.0, 1.0),
        )
    return x


def squares(n: int) -> Tensor:
    """Images of a bright square of 4 x 4 pixels somewhere on a dark ground."""
    images = torch.zeros(n, 1, SIZE, SIZE)
    for image, (row, column) in zip(images, torch.randint(SIZE - 3, (n, 2)), strict=True):
        image[0, row : row + 4, column : column + 4] = 1
    return images


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.SiLU(),
        nn.Conv2d(32, 32, 4, 2, 1), nn.SiLU(), nn.Flatten(), nn.LazyLinear(1),
    )  # fmt: skip


def train(iterations: int, steps: int, batch: int = 32) -> tuple[nn.Module, Tensor]:
    """Returns the network and the buffer of chains."""
    energy, buffer = network(), torch.rand(512, 1, SIZE, SIZE)
    energy(buffer[:1])  # finds the size of the last layer
    optimizer = torch.optim.Adam(energy.parameters(), 1e-3, betas=(0.0, 0.999))
    for _ in range(iterations):
        data = squares(batch) + 0.005 * torch.randn(batch, 1, SIZE, SIZE)
        rows = torch.randperm(len(buffer))[:batch]
        fresh = torch.rand(batch) < 0.05
        start = torch.where(fresh[:, None, None, None], torch.rand_like(data), buffer[rows])

        energy.requires_grad_(False)
        buffer[rows] = chains = move_chains(start, energy, steps, **SETTING)
        energy.requires_grad_(True)

        of_data, of_chains = energy(data), energy(chains)
        size = of_data.square().mean() + of_chains.square().mean()
        loss = of_data.mean() - of_chains.mean() + 0.1 * size
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return energy, buffer


def main(arguments: list[str] | None = None) -> tuple[float, float]:
    """Trains on images of squares; returns the mean energies of data and of uniform noise."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer iterations and steps")
    quick = parser.parse_args(arguments).quick
    torch.manual_seed(0)
    energy, buffer = train(*(40, 10) if quick else (500, 40))
    with torch.no_grad():
        images = {"data": squares(256), "chains": buffer, "noise": torch.rand(256, 1, SIZE, SIZE)}
        means = {name: float(energy(x).mean()) for name, x in images.items()}
    print("mean energies: " + ", ".join(f"{name} {mean:.3f}" for name, mean in means.items()))
    return means["data"], means["noise"]


if __name__ == "__main__":
    main()
