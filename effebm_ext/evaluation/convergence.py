"""Convergence of Markov chains: rank-normalised split R-hat, bulk and tail effective sample size.

The source is A. Vehtari, A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner, Rank-normalization,
folding, and localization: an improved R-hat for assessing convergence of MCMC, Bayesian Analysis 16
(2021). They ask whether chains agree with each other and with their own past, and how far their
averages can be trusted. A bias that all chains share, as compression gives, they do not see;
:func:`effebm_ext.evaluation.virial` and :func:`effebm_ext.evaluation.kernel_stein_discrepancy` do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from effebm_ext.evaluation.draws import ChainAxis, Draws, chains_first
from effebm_ext.evaluation.trajectory import sample_size

_HALVES = 4  # draws of each chain, for halves whose variance is known
_LAGS = 8  # draws of each chain, for halves with autocorrelations
_TAILS = (0.05, 0.95)


def split_r_hat(draws: Draws, *, chain_axis: ChainAxis = None) -> Tensor:
    """Returns the rank-normalised split R-hat of every element: the larger of R-hat of the normal
    scores of the ranks, and of the same of the distances from the median (section 4). It is 1 for
    chains that have converged; the authors ask for less than 1.01 over four chains or more.

    Every chain is split in halves (the middle of an odd number of draws is left out), so one chain
    is enough.

    Args:
        draws: as in :func:`effebm_ext.evaluation.effective_sample_size`, at least four draws of
            each chain.
        chain_axis: the axis of a tensor that counts the chains, 1 or 0. A run knows its own.

    Returns:
        One number per element, float64 ``(*event)`` on the device of the draws; nan where an
        element never changes or has a value that is not finite, inf where every half of a chain
        stands still and they differ.

    Raises:
        TypeError, ValueError: as :func:`effebm_ext.evaluation.integrated_autocorrelation_time`.
    """
    x = _halves(chains_first(draws, chain_axis, at_least=_HALVES).double())
    folded = (x - _quantile(x, 0.5)).abs()
    # Distances that are all the same, as of two values only, say nothing.
    found = torch.fmax(_r_hat(_normal_scores(x)), _r_hat(_normal_scores(folded)))
    return torch.where(x.isfinite().all(0).all(0), found, torch.nan)


def bulk_ess(draws: Draws, *, chain_axis: ChainAxis = None) -> Tensor:
    """Returns the bulk effective sample size of every element: that of the normal scores of the
    ranks, over split chains. It says how far the location can be trusted, also where the law has no
    mean or variance; the authors ask for 100 per chain.

    Args:
        draws, chain_axis: as in :func:`split_r_hat`, at least eight draws of each chain.

    Returns:
        One number per element, float64 ``(*event)``; nan where an element never changes or has a
        value that is not finite.

    Raises:
        TypeError, ValueError: as :func:`split_r_hat`.
    """
    x = _halves(chains_first(draws, chain_axis, at_least=_LAGS).double())
    return torch.where(x.isfinite().all(0).all(0), sample_size(_normal_scores(x)), torch.nan)


def tail_ess(draws: Draws, *, chain_axis: ChainAxis = None) -> Tensor:
    """Returns the tail effective sample size of every element: the smaller of those of the
    indicators that a draw is at most the 5 % quantile, and at most the 95 % quantile, over split
    chains.

    Args:
        draws, chain_axis: as in :func:`split_r_hat`, at least eight draws of each chain.

    Returns:
        One number per element, float64 ``(*event)``; nan where an element never changes or has a
        value that is not finite, and where 5 % of the draws or more are at the largest value, as
        at a bound.

    Raises:
        TypeError, ValueError: as :func:`split_r_hat`.
    """
    x = chains_first(draws, chain_axis, at_least=_LAGS).double()
    low, high = (sample_size(_halves((x <= _quantile(x, q)).double())) for q in _TAILS)
    return torch.where(x.isfinite().all(0).all(0), torch.minimum(low, high), torch.nan)


def _halves(x: Tensor) -> Tensor:
    """Returns the halves of chains ``(m, n, *event)`` as ``(2 m, n // 2, *event)``."""
    half = x.shape[1] // 2
    return torch.cat([x[:, :half], x[:, x.shape[1] - half :]])


def _quantile(x: Tensor, q: float) -> Tensor:
    """Returns the quantile of every element over chains and draws, ``(*event)``, linear between
    neighbours. (torch.quantile takes no large tensors.)"""
    ordered = x.flatten(0, 1).sort(0).values
    place = q * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 2)
    return ordered[below].lerp(ordered[below + 1], place - below)


def _normal_scores(x: Tensor) -> Tensor:
    """Returns the standard normal quantiles of ``(rank - 3/8) / (N + 1/4)``, eq. 14, where equal
    values share the mean of their ranks among all N of an element."""
    rows = x.flatten(0, 1).movedim(0, -1).contiguous()  # (*event, N)
    ordered = rows.sort(-1).values
    less, at_most = (torch.searchsorted(ordered, rows, side=side) for side in ("left", "right"))
    rank = (less + at_most + 1).double() / 2
    scores = torch.special.ndtri((rank - 0.375) / (rows.shape[-1] + 0.25))
    return scores.movedim(-1, 0).view_as(x)


def _r_hat(x: Tensor) -> Tensor:
    """Returns R-hat of chains ``(m, n, *event)``, eqs. 1 to 4; nan if they stand still at one
    place."""
    n = x.shape[1]
    within = (x - x[:, :1]).var(1).mean(0)  # exactly 0 of a chain that stands still
    between = (x.mean(1) - x[0, 0]).var(0)
    constant = x.amax((0, 1)) == x.amin((0, 1))
    found = (between / within + (n - 1) / n).sqrt()
    return torch.where(constant, torch.nan, found)
