"""The kernel Stein discrepancy asks whether samples come from a density known by its score.

The sources are Q. Liu, J. Lee, M. Jordan, A kernelized Stein discrepancy for goodness-of-fit tests,
ICML 2016, K. Chwialkowski, H. Strathmann, A. Gretton, A kernel test of goodness of fit, ICML 2016,
and, for the kernel, J. Gorham, L. Mackey, Measuring sample quality with kernels, ICML 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from effebm_ext.scalars import as_float, as_int

_ELEMENTS = 2**21  # of the matrix of all pairs that are held together
_ROWS = 1000  # whose distances give the bandwidth


class SteinDiscrepancy(NamedTuple):
    """``ksd`` is an unbiased estimate of the discrepancy, about 0 or below for samples of the
    density. ``error`` is its standard error by the jackknife, too large by sqrt(2) for samples of
    the density; two samples are a single pair, which has none, and it is infinite. ``p_value`` is
    the probability of such an estimate for samples of the density; None if it was not asked for.
    ``bandwidth`` is the bandwidth of the kernel."""

    ksd: float
    error: float
    p_value: float | None
    bandwidth: float


def kernel_stein_discrepancy(
    x: Tensor,
    score: Tensor,
    *,
    bandwidth: float | None = None,
    n_bootstrap: int = 200,
    generator: torch.Generator | None = None,
) -> SteinDiscrepancy:
    """Returns the U-statistic ``mean u(x_i, x_j)`` over all pairs of different samples, with

        u(x, y) = s(x) . s(y) k + s(x) . grad_y k + s(y) . grad_x k + div_x grad_y k

    and the inverse multiquadric kernel ``k = (1 + |x - y|^2 / bandwidth^2)^(-1/2)``. Its
    expectation is 0 for samples of the density with score s, and else positive: it is the mean of
    ``delta(x) . delta(y) k(x, y)``, where delta is s minus the score of the samples' density. (The
    discrepancy of Liu et al.; other authors take the square root.)

    The p-value is that of the wild bootstrap for independent samples, with random signs: ``(1 +
    n_as_large) / (1 + n_bootstrap)``. Time is of order ``n^2 (d + n_bootstrap)``, and memory of
    order n, as the pairs are taken in blocks. All is computed in float64.

    The kernel sees less in more dimensions, where all distances are nearly the same;
    :func:`effebm_ext.evaluation.virial` sees a wrong width from far fewer samples there.

    Args:
        x: ``(n, *event)``, n >= 2, finite; independent samples, else error and p-value are too
            small.
        score: ``(n, *event)``, finite: the score ``grad log p = -grad E`` at the samples.
        bandwidth: > 0; None: the median of all distances between two samples, or between 1000 of
            them if there are more.
        n_bootstrap: the number of bootstrap samples, at least 1.
        generator: CPU generator of the bootstrap; None: no p-value.

    Raises:
        TypeError: bandwidth is no number, or n_bootstrap no int.
        ValueError: fewer than two samples, a score of another shape, or values that are not finite;
            a bandwidth that is not positive and finite, or a median distance of 0; no bootstrap
            sample.
    """
    if x.dim() < 1 or len(x) < 2 or score.shape != x.shape:
        raise ValueError(
            "x, score: expected the same shape (n, *event), n >= 2, "
            f"got {tuple(x.shape)} and {tuple(score.shape)}"
        )
    n_bootstrap = as_int(n_bootstrap, "n_bootstrap")
    if n_bootstrap < 1:
        raise ValueError(f"n_bootstrap: expected at least 1, got {n_bootstrap}")
    n, rows, scores = len(x), x.double().reshape(len(x), -1), score.double().reshape(len(x), -1)
    if not bool(rows.isfinite().all() and scores.isfinite().all()):
        raise ValueError("x, score: expected finite values")
    if bandwidth is None:
        bandwidth = float(torch.pdist(rows[:: math.ceil(n / _ROWS)]).median())
    bandwidth = as_float(bandwidth, "bandwidth")
    if not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth: expected a finite number > 0, got {bandwidth}")
    signs = torch.zeros(0, n, dtype=torch.float64, device=x.device)
    if generator is not None:
        bits = torch.randint(2, (n_bootstrap, n), generator=generator)
        signs = (2 * bits - 1).to(signs)
    means, signed = [], torch.zeros(len(signs), dtype=torch.float64, device=x.device)
    for block, pairs in _blocks(rows, scores, bandwidth):
        means.append(pairs.sum(1) / (n - 1))
        signed += ((signs @ pairs.T) * signs[:, block]).sum(1)
    of_sample = torch.cat(means)
    ksd, error = of_sample.mean(), math.inf
    if n > 2:  # the means of two samples are both that of their single pair
        error = float(2 * of_sample.std() / math.sqrt(n))
    p_value = None
    if generator is not None:
        as_large = int((signed / (n * (n - 1)) >= ksd).sum())
        p_value = (1 + as_large) / (1 + n_bootstrap)
    return SteinDiscrepancy(float(ksd), error, p_value, bandwidth)


def _blocks(x: Tensor, score: Tensor, bandwidth: float) -> Iterator[tuple[slice, Tensor]]:
    """Yields slices of the samples ``(n, d)`` and their u with all samples, ``(m, n)``, where a
    sample has 0 with itself."""
    n, dim = x.shape
    scale = bandwidth**-2
    x = x - x.mean(0)  # so that distances lose less to rounding
    own, square = (score * x).sum(1), x.square().sum(1)
    size = max(1, _ELEMENTS // n)
    for begin in range(0, n, size):
        block = slice(begin, min(begin + size, n))
        squares = (square[block, None] + square - 2 * x[block] @ x.T).clamp(min=0) * scale
        q = 1 + squares
        k = q.rsqrt()
        # (s(y) - s(x)) . (x - y) for x in the block
        crossed = x[block] @ score.T + score[block] @ x.T - own[block, None] - own
        pairs = k * (score[block] @ score.T)
        pairs += scale * k / q * (dim - crossed - 3 * squares / q)
        pairs[torch.arange(len(pairs)), torch.arange(begin, block.stop)] = 0
        yield block, pairs
