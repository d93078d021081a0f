"""Do two sets of samples come from one law? The kernel two-sample test.

A. Gretton, K. Borgwardt, M. Rasch, B. Schoelkopf, A. Smola, A kernel two-sample test, Journal of
Machine Learning Research 13 (2012).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class TwoSample(NamedTuple):
    """``mmd2``: unbiased estimate of the squared maximum mean discrepancy, about 0 or below where
    the laws are equal. ``null_std``: its standard deviation over permutations, for which they are.
    ``p_value``: how likely equal laws give as much. ``bandwidth`` of the kernel."""

    mmd2: float
    null_std: float
    p_value: float
    bandwidth: float


def kernel_two_sample(
    x: Tensor,
    y: Tensor,
    *,
    bandwidth: float | None = None,
    n_permutations: int = 200,
    generator: torch.Generator,
) -> TwoSample:
    """Unbiased MMD^2 with the kernel ``exp(-|a - b|^2 / (2 bandwidth^2))`` (Lemma 6), with the
    p-value of a permutation test, ``(1 + as large ones) / (1 + n_permutations)``.

    Keeps the matrix of all ``(n + m)^2`` kernel values in float64.

    Args:
        x: ``(n, *event)``, n >= 2; independent samples, else the p-value is too small.
        y: ``(m, *event)``, m >= 2.
        bandwidth: > 0; None: the median distance between any two of all samples.
        n_permutations: at least 1.
        generator: CPU generator of the permutations.

    Raises:
        ValueError: fewer than two samples, or events of different shapes; a bandwidth that is not
            > 0, or a median distance of 0; no permutations.
    """
    if min(len(x), len(y)) < 2 or x.shape[1:] != y.shape[1:]:
        raise ValueError(
            "x, y: expected shapes (n, *event) and (m, *event), n, m >= 2, "
            f"got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if n_permutations < 1:
        raise ValueError(f"n_permutations: expected at least 1, got {n_permutations}")
    n, both = len(x), torch.cat([x, y]).flatten(1).double()
    if bandwidth is None:
        bandwidth = float(torch.pdist(both).median())
    if not bandwidth > 0:
        raise ValueError(f"bandwidth: expected > 0, got {bandwidth}")
    kernel = torch.exp(-torch.cdist(both, both).square() / (2 * bandwidth**2)).fill_diagonal_(0)
    group = torch.zeros(1 + n_permutations, len(both), dtype=torch.float64, device=both.device)
    group[0, :n] = 1
    for row in group[1:]:
        row[torch.randperm(len(both), generator=generator)[:n].to(both.device)] = 1
    mmd2 = _mmd2(kernel, group)
    null = mmd2[1:]
    p_value = (1 + int((null >= mmd2[0]).sum())) / (1 + n_permutations)
    return TwoSample(float(mmd2[0]), float(null.square().mean().sqrt()), p_value, bandwidth)


def _mmd2(kernel: Tensor, group: Tensor) -> Tensor:
    """Of every row of ``group``, which has ones for the samples of x and zeros for those of y."""
    n = group[0].sum()
    m = len(kernel) - n
    to_x, to_y = group @ kernel, (1 - group) @ kernel
    within_x, within_y = (to_x * group).sum(1), (to_y * (1 - group)).sum(1)
    across = (to_x * (1 - group)).sum(1)
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * across / (n * m)
