"""Resampling copies walkers in proportion to their weights; the copies have equal weights.

Every scheme gives each of n walkers n w copies in expectation, where w is its weight. Systematic
and stratified resampling place one point in each of n equal strata of [0, 1), at one common or at
independent offsets, and vary less than multinomial resampling, which draws n independent points
(R. Douc, O. Cappé, E. Moulines, arXiv cs/0507025).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from effebm_ext.log_weights import check_log_weights
from effebm_ext.ops.uniforms import uniforms
from effebm_ext.rng import RESAMPLING, Key


def _systematic(uniform: Tensor) -> Tensor:
    n = len(uniform)
    return (torch.arange(n) + uniform[0]) / n


def _stratified(uniform: Tensor) -> Tensor:
    n = len(uniform)
    return (torch.arange(n) + uniform) / n


def _multinomial(uniform: Tensor) -> Tensor:
    return uniform


# Each scheme makes n points in [0, 1) from n uniform numbers.
SCHEMES: dict[str, Callable[[Tensor], Tensor]] = {
    "systematic": _systematic,
    "stratified": _stratified,
    "multinomial": _multinomial,
}


def resample(log_weights: Tensor, scheme: str, key: Key) -> Tensor:
    """Says which walker each of n new walkers copies: int64 ``(n,)`` in rising order, on the
    device of the weights.

    The walkers are laid along [0, 1) in random order. In their own order, weights that repeat with
    a period, as when walkers started at two modes in turn, would meet all points of systematic
    resampling in the same place. The CPU computes this, so that the result is the same on every
    device.

    Args:
        log_weights: float64 ``(n,)``, up to a common constant.
        scheme: systematic, stratified or multinomial.
        key: gives the random numbers, under the purpose of resampling.

    Raises:
        ValueError: a weight is NaN or infinite, or all are zero.
    """
    check_log_weights(log_weights)
    n = len(log_weights)
    uniform = uniforms(key, 2 * n, RESAMPLING, like=log_weights).cpu()
    order = uniform[:n].argsort()
    cumulative = torch.softmax(log_weights.cpu(), 0)[order].cumsum(0)
    # A point that rounds up to 1 would lie behind the last walker.
    points = SCHEMES[scheme](uniform[n:]).clamp(max=1 - 2.0**-53)
    places = torch.searchsorted(cumulative / cumulative[-1], points, right=True)
    return order[places].sort().values.to(log_weights.device)


def in_random_order(rows: Tensor, key: Key) -> Tensor:
    """Returns the rows ``(n,)`` of :func:`resample` with the same key in random order, so that any
    of them stand for all: in rising order copies of a walker, and walkers of one ancestor, follow
    each other.
    """
    n = len(rows)
    uniform = uniforms(key, 3 * n, RESAMPLING, like=rows)[2 * n :]  # of which resample uses none
    return rows[uniform.argsort()]
