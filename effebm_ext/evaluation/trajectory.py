"""How many independent samples the states of Markov chains are worth."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from effebm_ext.samplers import PackedTrajectory, Run
from effebm_ext.scalars import as_int


def effective_sample_size(
    draws: Run | PackedTrajectory | Tensor, *, chain_axis: Literal[0, 1] | None = None
) -> Tensor:
    """Returns the effective sample size of the mean over chains that follow one law.

    It uses the autocorrelations over all chains (the variance between chains counts as correlation,
    so chains that disagree are worth little), summed over Geyer's initial monotone sequence of
    pairs: S. Brooks et al., Handbook of Markov Chain Monte Carlo (2011), ch. 1; A. Vehtari et al.,
    Rank-normalization, folding, and localization, Bayesian Analysis 16 (2021), eqs. 10 to 13, as
    in Stan, without splitting the chains. The result is at most ``N log10 N`` for N states.

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
    draws = _chains_first(draws, chain_axis)
    if len(draws) < 1 or draws.shape[1] < 4:
        raise ValueError(
            "draws: expected at least one chain and four draws of it, "
            f"got {len(draws)} and {draws.shape[1]}"
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
    pairs = correlation[: n - n % 2].unflatten(0, (-1, 2)).sum(1)  # lags 2t and 2t + 1
    pairs = pairs.cummin(0).values.clamp(min=0)  # zero from the first non-positive pair on
    time = (2 * pairs.sum(0) - 1).clamp(min=1 / math.log10(m * n))
    return torch.where(total > 0, m * n / time, torch.nan)


def _chains_first(draws: Run | PackedTrajectory | Tensor, chain_axis: int | None) -> Tensor:
    """Returns the draws as ``(n_chains, n_draws, *event)``."""
    if isinstance(draws, (Run, PackedTrajectory)):
        if chain_axis is not None:
            raise TypeError(f"chain_axis: expected none with a run, got {chain_axis}")
        kept = draws.trajectory if isinstance(draws, Run) else draws
        return (kept.replay() if isinstance(kept, PackedTrajectory) else kept).transpose(0, 1)
    if not isinstance(draws, Tensor):
        kind = type(draws).__name__
        raise TypeError(f"draws: expected a Run, a packed trajectory or a tensor, got {kind}")
    if chain_axis is None:
        raise TypeError(
            "chain_axis: expected 1 for draws (n_draws, n_chains, *event), as in run.trajectory, "
            "or 0 for (n_chains, n_draws, *event), got none"
        )
    if as_int(chain_axis, "chain_axis") not in (0, 1):
        raise ValueError(f"chain_axis: expected 0 or 1, got {chain_axis}")
    if draws.dim() < 2:
        raise ValueError(
            f"draws: expected an axis of chains and one of draws, got shape {tuple(draws.shape)}"
        )
    return draws.transpose(0, 1) if chain_axis == 1 else draws
