"""Resampling: walkers in proportion to their weights, equally weighted from then on.

Every scheme gives a walker of weight w, of n, n w copies in expectation. Systematic and stratified
resampling place one point in each of n equal strata of [0, 1), at one common or at independent
offsets, and vary less than multinomial resampling, which draws n independent points (R. Douc, O.
Cappé, E. Moulines, arXiv cs/0507025).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from effebm_ext.rng import RESAMPLING, Key, uniforms


def systematic(n: int, key: Key) -> Tensor:
    """n points in [0, 1), one in each of n equal strata, all at the same offset."""
    return (torch.arange(n) + uniforms(key, 1, RESAMPLING)) / n


def stratified(n: int, key: Key) -> Tensor:
    """n points in [0, 1), one in each of n equal strata, independently."""
    return (torch.arange(n) + uniforms(key, n, RESAMPLING)) / n


def multinomial(n: int, key: Key) -> Tensor:
    """n independent points in (0, 1)."""
    return uniforms(key, n, RESAMPLING)


SCHEMES: dict[str, Callable[[int, Key], Tensor]] = {
    "systematic": systematic,
    "stratified": stratified,
    "multinomial": multinomial,
}


def resample(log_weights: Tensor, scheme: str, key: Key) -> Tensor:
    """Which walker each of n new ones is a copy of, int64 ``(n,)`` on the device of the weights.

    Computed on the CPU, so that the result is the same on every device.

    Args:
        log_weights: float64 ``(n,)``, up to a common constant.
        scheme: systematic, stratified or multinomial.
        key: decides, under the purpose of resampling.
    """
    weights = torch.softmax(log_weights.cpu(), 0)
    cumulative = weights.cumsum(0)
    # Points that round up to 1 would lie behind the last walker.
    points = SCHEMES[scheme](len(weights), key).clamp(max=1 - 2.0**-53)
    rows = torch.searchsorted(cumulative / cumulative[-1], points, right=True)
    return rows.to(log_weights.device)
