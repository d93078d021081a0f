"""Draws of Markov chains, in the order that diagnostics take."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from effebm_ext.samplers import PackedTrajectory, Run
from effebm_ext.scalars import as_int

Draws = Run | PackedTrajectory | Tensor
ChainAxis = Literal[0, 1] | None


def chains_first(draws: Draws, chain_axis: int | None, *, at_least: int) -> Tensor:
    """Returns the draws as ``(n_chains, n_draws, *event)``.

    Args:
        draws: a run, whose kept states are taken, dense or packed; a packed trajectory, which is
            replayed; or a tensor ``(n_draws, n_chains, *event)`` or
            ``(n_chains, n_draws, *event)``.
        chain_axis: the axis of a tensor that counts the chains, 1 or 0; None for a run.
        at_least: the smallest number of draws of each chain.

    Raises:
        TypeError: a tensor comes without a chain_axis, a run with one, or draws are of another
            kind.
        ValueError: chain_axis is neither 0 nor 1; draws have fewer than two axes, no chain, or too
            few draws.
    """
    found = _ordered(draws, chain_axis)
    if len(found) < 1 or found.shape[1] < at_least:
        raise ValueError(
            f"draws: expected at least one chain and {at_least} draws of it, "
            f"got {len(found)} and {found.shape[1]}"
        )
    return found


def _ordered(draws: Draws, chain_axis: int | None) -> Tensor:
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
