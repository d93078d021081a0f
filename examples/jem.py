"""JEM (Grathwohl et al. 2020): a classifier trained as an energy of its inputs at the same time.

    python examples/jem.py --quick

The update of the chains is one fused op; ``jem_chains`` of originals.py writes it by hand.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

import effebm_ext as eff

SIZE, CLASSES = 8, 3
# Of the paper: the step size h and the standard deviation of the noise.
SETTING = {"step_size": 1.0, "noise_std": 0.01}


def move_chains(
    x: Tensor,
    classifier: Callable[[Tensor], Tensor],
    steps: int,
    *,
    step_size: float,
    noise_std: float,
) -> Tensor:
    """Returns inputs after so many steps from ``x``, which stays as it is. The energy is
    ``-logsumexp`` of the logits."""
    x = x.clone()
    for _ in range(steps):
        x.requires_grad_()
        (grad,) = torch.autograd.grad(-classifier(x).logsumexp(1).sum(), x)
        x = x.detach()
        eff.langevin_step_(x, grad, 2 * step_size, noise_std=noise_std)
    return x


def stripes(n: int) -> tuple[Tensor, Tensor]:
    """Noisy stripes in [-1, 1], horizontal, vertical and diagonal, ``(n, SIZE * SIZE)``, and their
    classes ``(n,)``."""
    labels, phase = torch.randint(CLASSES, (n,)), torch.rand(n, 1, 1) * 6.28
    row, column = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    along = torch.stack([row, column, row + column])[labels]
    images = torch.sin(1.5 * along + phase) + 0.3 * torch.randn(n, SIZE, SIZE)
    return images.clamp(-1, 1).flatten(1), labels


def network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(SIZE * SIZE, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(),
        nn.Linear(128, CLASSES),
    )  # fmt: skip


def train(iterations: int, steps: int, batch: int = 64) -> nn.Module:
    classifier, buffer = network(), 2 * torch.rand(1000, SIZE * SIZE) - 1
    optimizer = torch.optim.Adam(classifier.parameters(), 1e-3)
    for _ in range(iterations):
        data, labels = stripes(batch)
        rows = torch.randperm(len(buffer))[:batch]
        fresh = torch.rand(batch, 1) < 0.05
        start = torch.where(fresh, 2 * torch.rand_like(data) - 1, buffer[rows])

        classifier.requires_grad_(False)
        buffer[rows] = chains = move_chains(start, classifier, steps, **SETTING)
        classifier.requires_grad_(True)

        logits = classifier(data)
        log_density = logits.logsumexp(1).mean() - classifier(chains).logsumexp(1).mean()
        loss = nn.functional.cross_entropy(logits, labels) - log_density
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return classifier


def main(arguments: list[str] | None = None) -> float:
    """Trains on stripes of three directions; returns the accuracy on new ones."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer iterations")
    quick = parser.parse_args(arguments).quick
    torch.manual_seed(0)
    classifier = train(50 if quick else 1000, steps=20)
    data, labels = stripes(1000)
    accuracy = float((classifier(data).argmax(1) == labels).float().mean())
    print(f"accuracy on 1000 new images: {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
