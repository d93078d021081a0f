"""Autocorrelation of Markov chains: how many independent samples their states are worth."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from effebm_ext.evaluation.draws import ChainAxis, Draws, chains_first

_DRAWS = 4  # of each chain, for two lags whose autocorrelations mean something


def effective_sample_size(draws: Draws, *, chain_axis: ChainAxis = None) -> Tensor:
    """Returns the effective sample size of the mean over chains that follow one law: the number of
    states over :func:`integrated_autocorrelation_time`, without splitting the chains. The result is
    at most ``N log10 N`` for N states.

    A run's trajectory has its draws first and its chains second. Other libraries have them the
    other way round, and a tensor does not show its order: with the axes exchanged the result is far
    too large. So a tensor needs its ``chain_axis``::

        sampler = eff.Langevin(energy, step_size=0.1)
        warm = sampler.sample(x0, 1000, rng=eff.Key(0))
        run = sampler.run(warm, 5000, thin=10, rng=eff.Key(1))
        effective_sample_size(run)
        effective_sample_size(run.trajectory[100:], chain_axis=1)  # (n_kept, n_chains, *event)
        effective_sample_size(draws_of_another_library, chain_axis=0)  # (n_chains, n_draws, *event)

    Args:
        draws: a :class:`~effebm_ext.samplers.Run`, whose kept states are taken, dense or packed; a
            packed trajectory, which is replayed; or a tensor ``(n_draws, n_chains, *event)`` or
            ``(n_chains, n_draws, *event)``. At least four draws of each chain, after burn-in.
        chain_axis: the axis of a tensor that counts the chains, 1 or 0. A run knows its own.

    Returns:
        One number per element, float64 ``(*event)``; nan where an element never changes.

    Raises:
        TypeError: a tensor comes without a chain_axis, a run with one, or draws are of another
            kind.
        ValueError: chain_axis is neither 0 nor 1; draws have fewer than two axes, no chain, fewer
            than four draws, or values that are not finite.
    """
    x = chains_first(draws, chain_axis, at_least=_DRAWS)
    if not bool(x.isfinite().all()):
        raise ValueError("draws: expected finite values")
    return sample_size(x.double())


def integrated_autocorrelation_time(draws: Draws, *, chain_axis: ChainAxis = None) -> Tensor:
    """Returns the integrated autocorrelation time ``1 + 2 sum_t rho_t`` over chains that follow one
    law, in draws: the variance of the mean over N states is this time over N the variance of one.

    The autocorrelations rho_t are those over all chains, in which the variance between chains
    counts as correlation, so that chains that disagree have a long time. They are summed over
    Geyer's initial monotone sequence of pairs, as in Stan and ArviZ: the pairs of lags 2t and
    2t + 1 before the first pair whose sum is not positive, none larger than the pair before it, and
    the even lag of that first pair if it is positive. The sources are C. Geyer, Practical Markov
    chain Monte Carlo, Statistical Science 7 (1992), and A. Vehtari et al., Rank-normalization,
    folding, and localization, Bayesian Analysis 16 (2021), eqs. 10 to 13. The time is at least
    ``1 / log10 N`` for N states.

    Args:
        draws, chain_axis: as in :func:`effective_sample_size`.

    Returns:
        One number per element, float64 ``(*event)`` on the device of the draws; nan where an
        element never changes, or has a value that is not finite.

    Raises:
        TypeError, ValueError: as :func:`effective_sample_size`, but for values that are not finite.
    """
    x = chains_first(draws, chain_axis, at_least=_DRAWS).double()
    return x.shape[0] * x.shape[1] / sample_size(x)


def sample_size(x: Tensor) -> Tensor:
    """Returns the effective sample size ``(*event)`` of every element of float64 draws
    ``(n_chains, n_draws, *event)``, which has at least four draws; nan where an element never
    changes, or has a value that is not finite."""
    m, n = x.shape[:2]
    correlation = _autocorrelation(x)
    lags = (n - 1) // 2 * 2  # the last lag is without meaning, and pairs are whole
    even, pairs = correlation[:lags:2], correlation[:lags].unflatten(0, (-1, 2)).sum(1)
    # The place of the first pair that is not positive, or of the last one.
    ends = pairs <= 0
    ends[-1] = True
    last = ends.int().argmax(0, keepdim=True)
    before = torch.arange(len(pairs), device=x.device).view(-1, *[1] * (x.dim() - 2)) < last
    monotone = torch.where(before, pairs.cummin(0).values, 0).sum(0)
    final_even, final_pair = even.gather(0, last)[0], pairs.gather(0, last)[0]
    rest = torch.where((final_even > 0) | (final_pair >= 0), final_even, 0)
    time = (2 * monotone - 1 + rest).clamp(min=1 / math.log10(m * n))
    changes = x.amax((0, 1)) > x.amin((0, 1))
    return torch.where(changes & x.isfinite().all(0).all(0), m * n / time, torch.nan)


def _autocorrelation(x: Tensor) -> Tensor:
    """Returns the autocorrelations over all chains, ``(n_draws, *event)``."""
    m, n = x.shape[:2]
    centred = x - x.mean(1, keepdim=True)
    spectrum = torch.fft.rfft(centred, n=2 * n, dim=1)  # padded, so that no lag wraps around
    power = spectrum.real.square() + spectrum.imag.square()
    covariance = torch.fft.irfft(power, n=2 * n, dim=1)[:, :n].mean(0) / n
    within = covariance[0] * n / (n - 1)
    total = covariance[0]
    if m > 1:
        total = total + x.mean(1).var(0)
    correlation = 1 - (within - covariance) / total
    correlation[0] = 1.0
    return correlation
