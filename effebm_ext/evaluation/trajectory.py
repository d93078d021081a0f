"""How many independent samples the states of Markov chains are worth."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def effective_sample_size(draws: Tensor) -> Tensor:
    """Effective sample size of the mean over chains that follow one law.

    Autocorrelations of all chains together (the variance between chains counts as correlation, so
    chains that disagree are worth little), summed over Geyer's initial monotone sequence of pairs:
    S. Brooks et al., Handbook of Markov Chain Monte Carlo (2011), ch. 1; A. Vehtari et al.,
    Rank-normalization, folding, and localization, Bayesian Analysis 16 (2021), eqs. 10 to 13, as
    in Stan, without splitting the chains. At most ``N log10 N`` for N states.

    Args:
        draws: ``(n_chains, n_draws, *event)``, n_draws >= 4, burn-in left out.

    Returns:
        One number per element, float64 ``(*event)``; nan where an element never changes.

    Raises:
        ValueError: fewer than two axes, no chain, fewer than four draws, or values not finite.
    """
    if draws.dim() < 2 or len(draws) < 1 or draws.shape[1] < 4:
        raise ValueError(
            "draws: expected shape (n_chains, n_draws, *event), n_chains >= 1, n_draws >= 4, "
            f"got {tuple(draws.shape)}"
        )
    if not bool(draws.isfinite().all()):
        raise ValueError("draws: expected finite values")
    x = draws.double()
    m, n = x.shape[:2]
    centred = x - x.mean(1, keepdim=True)
    spectrum = torch.fft.rfft(centred, n=2 * n, dim=1)  # padded, so that no lag wraps around
    power = spectrum.real.square() + spectrum.imag.square()
    covariance = torch.fft.irfft(power, n=2 * n, dim=1)[:, :n].mean(0) / n  # (n, *event)
    within = covariance[0] * n / (n - 1)
    total = within * (n - 1) / n
    if m > 1:
        total = total + x.mean(1).var(0)
    correlation = 1 - (within - covariance) / total
    correlation[0] = 1.0
    pairs = correlation[: n - n % 2].unflatten(0, (-1, 2)).sum(1)  # of lags 2t and 2t + 1
    pairs = pairs.cummin(0).values.clamp(min=0)  # from the first that is not positive on, zero
    time = (2 * pairs.sum(0) - 1).clamp(min=1 / math.log10(m * n))
    return torch.where(total > 0, m * n / time, torch.nan)
