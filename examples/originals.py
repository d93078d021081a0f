"""The updates of the examples in plain PyTorch, as they are written by hand.

The tests hold the examples to them, and benchmarks/drop_in.py times both.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from functional import Kernel, State, gradient_state
from torch import Tensor

Energy = Callable[[Tensor], Tensor]


def igebm_chains(
    x: Tensor, energy: Energy, steps: int, *, step_size: float, noise_std: float, clip: float
) -> Tensor:
    """Short chains of images in [0, 1] as in IGEBM (Du and Mordatch 2019)."""
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (grad,) = torch.autograd.grad(energy(x).sum(), x)
        grad = grad.clamp(-clip, clip)
        x = (x - step_size * grad + noise_std * torch.randn_like(x)).clamp(0, 1)
    return x.detach()


def jem_chains(
    x: Tensor, classifier: Energy, steps: int, *, step_size: float, noise_std: float
) -> Tensor:
    """Stochastic gradient Langevin dynamics of a classifier as in JEM (Grathwohl et al. 2020)."""
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (score,) = torch.autograd.grad(classifier(x).logsumexp(1).sum(), x)
        x = x + step_size * score + noise_std * torch.randn_like(x)
    return x.detach()


def langevin(energy: Energy, step_size: float) -> Kernel[torch.Generator]:
    """The functional kernel of examples/functional.py."""

    def init(position: Tensor) -> State:
        return gradient_state(energy, position)

    def step(rng: torch.Generator, state: State) -> State:
        noise = torch.randn(state.position.shape, generator=rng, dtype=state.position.dtype)
        moved = state.position - step_size * state.gradient
        return init(moved + math.sqrt(2 * step_size) * noise)

    return Kernel(init, step)
