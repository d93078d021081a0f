"""Langevin dynamics as a pair of functions with explicit state and keys, as in blackjax.

    python examples/functional.py --quick

``init(position)`` makes a state, ``step(key, state)`` returns the next one and leaves the given one
as it is. blackjax takes a log density; this takes its negative, an energy.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

import effebm_ext as eff

Energy = Callable[[Tensor], Tensor]
Random = TypeVar("Random")
DIM = 64


class State(NamedTuple):
    """Chains ``(n_chains, *event)``, their energies ``(n_chains,)`` and the gradient of these."""

    position: Tensor
    energy: Tensor
    gradient: Tensor


class Kernel(NamedTuple, Generic[Random]):
    init: Callable[[Tensor], State]
    step: Callable[[Random, State], State]


def gradient_state(energy: Energy, position: Tensor) -> State:
    at = position.detach().requires_grad_()
    energies = energy(at)
    (gradient,) = torch.autograd.grad(energies.sum(), at)
    return State(position, energies.detach(), gradient)


def langevin(energy: Energy, step_size: float) -> Kernel[eff.Key]:
    """The kernel ``x - step_size * grad + sqrt(2 * step_size) * noise``. The noise depends on the
    key only: a step with the same key and state gives the same bits."""

    def init(position: Tensor) -> State:
        return gradient_state(energy, position)

    def step(key: eff.Key, state: State) -> State:
        return init(eff.langevin_step(state.position, state.gradient, 2 * step_size, rng=key))

    return Kernel(init, step)


def run(kernel: Kernel[eff.Key], key: eff.Key, state: State, steps: int) -> State:
    for i in range(steps):
        state = kernel.step(key.at(i), state)
    return state


def gaussian(dim: int) -> tuple[Tensor, Energy]:
    """Returns the covariance of a Gaussian whose neighbouring variables are correlated, and its
    energy."""
    place = torch.arange(dim)
    covariance = 0.5 ** (place[:, None] - place).abs()
    precision = covariance.inverse()
    return covariance, lambda x: ((x @ precision) * x).sum(1) / 2


def main(arguments: list[str] | None = None) -> tuple[float, float]:
    """Samples a Gaussian; returns the mean variance and the mean covariance of neighbours, which
    are to be 1 and 0.5."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer chains")
    n_chains = 500 if parser.parse_args(arguments).quick else 20_000
    kernel = langevin(gaussian(DIM)[1], step_size=0.02)
    state = run(kernel, eff.Key(0), kernel.init(torch.zeros(n_chains, DIM)), steps=500)
    found = torch.cov(state.position.T)
    variance, neighbours = (float(found.diagonal(i).mean()) for i in (0, 1))
    print(f"variance {variance:.3f} (1), covariance of neighbours {neighbours:.3f} (0.5)")
    return variance, neighbours


if __name__ == "__main__":
    main()
