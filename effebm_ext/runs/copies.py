"""Warnings of samples that are copies of the same chains."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


def warn_of_copies(
    x: Tensor, labels: Tensor | None, n_chains: int, centre: Tensor, n_steps: int
) -> None:
    """Warns if samples that began as copies of chains still correlate. With k copies of each chain
    and a correlation rho of copies within their class, n samples are worth
    ``n / (1 + (k - 1) rho)`` independent ones for their mean.

    Args:
        x: the samples ``(n, *event)``; row i began as chain ``i % n_chains``.
        labels: the classes of the samples ``(n,)``, or None.
        n_chains: how many chains there were.
        centre: the mean ``event`` of the chains, for classes of one chain.
        n_steps: the steps that the samples have made.
    """
    n = len(x)
    if n <= n_chains:
        return
    labels = torch.zeros(n) if labels is None else labels
    centred = x.flatten(1).double()
    for y in labels.unique():
        rows = labels == y
        several = int(rows[:n_chains].sum()) > 1
        centred[rows] -= (x[rows].mean(0) if several else centre).flatten()
    one, other = centred[:-n_chains], centred[n_chains:]  # copies of the same chains
    correlation = float((one * other).sum() / (one.norm() * other.norm()))
    worth = n / (1 + (n / n_chains - 1) * max(correlation, 0.0))
    if worth < n / 2:
        warnings.warn(
            f"{n} samples are copies of {n_chains} chains, and after {n_steps} steps copies of "
            f"a chain still correlate by {correlation:.2f}: they are worth about {worth:.0f} "
            "independent samples; more steps move them further apart",
            stacklevel=3,
        )


def warn_of_repeats(x: Tensor) -> None:
    """Warns if some samples ``(n, *event)`` are the same, as resampled walkers are."""
    n_distinct = len(x.unique(dim=0))
    if n_distinct < len(x):
        warnings.warn(
            f"only {n_distinct} of {len(x)} samples are distinct, as walkers were resampled by "
            "their weights; steps move the copies apart",
            stacklevel=3,
        )
