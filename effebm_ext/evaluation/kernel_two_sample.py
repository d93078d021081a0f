"""The kernel two-sample test asks whether two sets of samples come from one law.

Its source is A. Gretton, K. Borgwardt, M. Rasch, B. Schoelkopf, A. Smola, A kernel two-sample test,
Journal of Machine Learning Research 13 (2012).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from effebm_ext.scalars import as_float, as_int


class TwoSample(NamedTuple):
    """``mmd2`` is an unbiased estimate of the squared maximum mean discrepancy, about 0 or below if
    the laws are equal. ``null_std`` is its standard deviation over permutations, which have equal
    laws. ``p_value`` is the probability of such an estimate under equal laws. ``bandwidth`` is the
    bandwidth of the kernel."""

    mmd2: float
    null_std: float
    p_value: float
    bandwidth: float


def median_distance(x: Tensor, y: Tensor) -> float:
    """Returns the median of all distances between two of the samples ``(n, *event)`` and
    ``(m, *event)``, in float64; 0 if at least half of the pairs are equal."""
    both = torch.cat([x, y]).double()
    return float(torch.pdist(both.reshape(len(both), -1)).median())


def kernel_two_sample(
    x: Tensor,
    y: Tensor,
    *,
    bandwidth: float | None = None,
    n_permutations: int = 200,
    generator: torch.Generator,
) -> TwoSample:
    """Returns the unbiased MMD^2 with the kernel ``exp(-|a - b|^2 / (2 bandwidth^2))`` (Lemma 6)
    and the p-value of a permutation test, ``(1 + n_as_large) / (1 + n_permutations)``.

    The matrix of all ``(n + m)^2`` kernel values is kept in float64.

    Args:
        x: ``(n, *event)``, n >= 2, finite; independent samples, else the p-value is too small.
        y: ``(m, *event)``, m >= 2, finite.
        bandwidth: > 0; None: :func:`median_distance`.
        n_permutations: at least 1.
        generator: CPU generator of the permutations.

    Raises:
        TypeError: bandwidth is no number, or n_permutations no int.
        ValueError: fewer than two samples, events of different shapes, or values that are not
            finite; a bandwidth that is not positive and finite, or a median distance of 0; no
            permutations.
    """
    if min(x.dim(), y.dim()) < 1 or min(len(x), len(y)) < 2 or x.shape[1:] != y.shape[1:]:
        raise ValueError(
            "x, y: expected shapes (n, *event) and (m, *event), n, m >= 2, "
            f"got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    n_permutations = as_int(n_permutations, "n_permutations")
    if n_permutations < 1:
        raise ValueError(f"n_permutations: expected at least 1, got {n_permutations}")
    n, both = len(x), torch.cat([x, y]).double()
    both = both.reshape(len(both), -1)
    if not bool(both.isfinite().all()):
        raise ValueError("x, y: expected finite values")
    if bandwidth is None:
        bandwidth = median_distance(x, y)
    bandwidth = as_float(bandwidth, "bandwidth")
    if not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth: expected a finite number > 0, got {bandwidth}")
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
    """Returns MMD^2 for every row of ``group``, which has ones for the samples of x and zeros for
    the samples of y."""
    n = group[0].sum()
    m = len(kernel) - n
    to_x, to_y = group @ kernel, (1 - group) @ kernel
    within_x, within_y = (to_x * group).sum(1), (to_y * (1 - group)).sum(1)
    across = (to_x * (1 - group)).sum(1)
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * across / (n * m)
