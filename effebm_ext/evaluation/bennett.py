"""Bennett's acceptance ratio: one estimate of log Z from the log weights of both directions.

The sources are C. Bennett, Efficient estimation of free energy differences from Monte Carlo data,
Journal of Computational Physics 22 (1976), and, for paths, their work and the standard error,
M. Shirts, E. Bair, G. Hooker, V. Pande, Equilibrium free energies from nonequilibrium measurements
using maximum-likelihood methods, Physical Review Letters 91, 140601 (2003).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from effebm_ext.evaluation.estimates import Estimate
from effebm_ext.log_weights import check_log_weights

_LEAST_OVERLAP = 0.01  # of the sum f (1 - f); the error is that of large sums


def bennett(forward_log_weights: Tensor, reverse_log_weights: Tensor) -> Estimate:
    """Estimates ``log(Z_1 / Z_0)`` from paths that go from 0 to 1 and paths that go back.

    A path that went forward with the log weight w (minus its work) has
    ``log(p_back / p_forward) = w - log(Z_1 / Z_0)``, and one that went back with the log weight v
    has ``v + log(Z_1 / Z_0)`` for the opposite ratio. The estimate D maximises the likelihood of
    the directions given the paths: with ``C = D + log(n / m)`` it solves ::

        sum_i sigmoid(w_i - C) = sum_j sigmoid(v_j + C)

    The left side falls with C and the right side rises, so there is one solution, which bisection
    finds. It has the least asymptotic variance of all estimates from both sets of weights.

    The standard error is that of independent paths for large n and m,
    ``variance = 1 / sum f (1 - f) - 1 / n - 1 / m``, where f are all the n + m sigmoids. It is
    large where the two directions hardly overlap, that is where few paths of one direction could
    have been made by the other. Then the value is little more than a guess between the largest
    weights of both. Below 0.01 of the sum, where it would be above 10, the error is not known.

    Args:
        forward_log_weights: w, ``(n,)``; -inf for a path that cannot be gone back, such as one
            that diverged.
        reverse_log_weights: v, ``(m,)``, likewise; n and m may differ.

    Returns:
        The estimate, computed in float64; its error is infinite where it is not known, as with
        n = 1 or m = 1.

    Raises:
        ValueError: weights of either direction are not of one axis or empty, all are zero, or one
            is nan or +inf.
    """
    check_log_weights(forward_log_weights, "forward_log_weights")
    check_log_weights(reverse_log_weights, "reverse_log_weights")
    forward, reverse = (
        forward_log_weights.double(),
        reverse_log_weights.double().to(forward_log_weights.device),
    )
    n, m = len(forward), len(reverse)
    shift = _solution(forward, reverse)
    fractions = torch.cat([torch.sigmoid(forward - shift), torch.sigmoid(reverse + shift)])
    information = float((fractions * (1 - fractions)).sum())
    value = shift - math.log(n / m)
    if min(n, m) < 2 or information < _LEAST_OVERLAP:
        return Estimate(value, math.inf)
    return Estimate(value, math.sqrt(max(0.0, 1 / information - 1 / n - 1 / m)))


def _solution(forward: Tensor, reverse: Tensor) -> float:
    """Returns the C of :func:`bennett`. The logarithms of both sides are compared, since without
    overlap the sides themselves are too small for float64."""
    largest, smallest = float(forward.max()), -float(reverse.max())
    low = min(largest, smallest) - math.log(2 * len(reverse))  # there the left side is >= 1/2
    high = max(largest, smallest) + math.log(2 * len(forward))  # and here the right side
    while low < (middle := low + (high - low) / 2) < high:
        left = torch.logsumexp(logsigmoid(forward - middle), 0)
        right = torch.logsumexp(logsigmoid(reverse + middle), 0)
        if left == right:
            return middle
        low, high = (middle, high) if left > right else (low, middle)
    return middle
