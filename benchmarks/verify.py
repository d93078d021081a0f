"""Whether all arms compute the same: without that their times could not be compared."""

from __future__ import annotations

import math

import torch
from arms import Arm, Case
from forms import STEP_SIZE, moves
from torch import Tensor

import effebm_ext as eff
from effebm_ext.ops.compressor import FusedCompressor


class WrongFormError(AssertionError):
    """An arm does not compute what the others do: its time would mean nothing."""


def expected(case: Case, x: Tensor, g: Tensor) -> Tensor:
    """One step without noise in float64, by the first of the forms in PyTorch."""
    state = x.to(torch.float64, copy=True)
    compressor = None if _is_random(case) else case.compressor  # an unbiased one has this mean
    (move, *_) = moves(compressor, case.dim, dict).values()
    move(state, g.double())
    return state


def verify(case: Case, arm: Arm, x: Tensor, g: Tensor, want: Tensor) -> None:
    """Compares one step of the arm without noise with ``want``, and what noise adds to that with
    its standard deviation; x and g are left as they are.

    Raises:
        WrongFormError: they differ, in entries other than ties at the threshold of a Top-k, of
            which PyTorch promises no order.
    """
    if arm.group == "floor":
        return
    if _is_random(case):
        return _verify_mean(case, arm, x, g, want)
    compared = torch.ones_like(want, dtype=torch.bool)
    if isinstance(case.compressor, eff.TopK):
        compared = ~_ties(g.double().abs(), case.compressor.entries(case.dim))

    def difference(noisy: bool) -> Tensor:
        state = x.clone()
        returned = arm.build(noisy)(state, g.clone())
        return ((state if returned is None else returned).double() - want)[compared]

    tolerance = max(1e-5, 4 * torch.finfo(case.dtype).eps)
    right = difference(noisy=False).abs() <= tolerance * (1 + want[compared].abs())
    what = f"{arm.name} for {case.op} at {case.shape}"
    if not right.all():
        count = int((~right).sum())
        raise WrongFormError(f"{what} differs from PyTorch in float64 in {count} elements")
    noise_std = difference(noisy=True).square().mean().sqrt().item() / math.sqrt(STEP_SIZE)
    if not abs(noise_std - 1) <= 0.02 + 5 / math.sqrt(2 * right.numel()):
        raise WrongFormError(f"{what} adds {noise_std:.3g} times the noise that is asked for")


def _is_random(case: Case) -> bool:
    return isinstance(case.compressor, FusedCompressor) and case.compressor.is_random


def _verify_mean(case: Case, arm: Arm, x: Tensor, g: Tensor, want: Tensor) -> None:
    """Likewise for an unbiased random compressor: over many elements it moves the state like a step
    without compressor, and the noise adds its variance."""

    def errors(noisy: bool) -> Tensor:
        state = x.clone()
        returned = arm.build(noisy)(state, g.clone())
        along = (state if returned is None else returned).double() - want
        return along * g.double().sign()

    quiet, noisy = errors(False), errors(True)
    n, what = quiet.numel(), f"{arm.name} for {case.op} at {case.shape}"
    slack = 5 * quiet.std() / math.sqrt(n) + torch.finfo(case.dtype).eps
    if not abs(quiet.mean()) <= slack:
        raise WrongFormError(f"{what} moves by {quiet.mean():.3g} too much on average")
    noise_std = math.sqrt(max(noisy.var() - quiet.var(), 0) / STEP_SIZE)
    scale = 1 + quiet.var().item() / STEP_SIZE
    if not abs(noise_std - 1) <= 0.02 + 10 * scale / math.sqrt(n):
        raise WrongFormError(f"{what} adds {noise_std:.3g} times the noise that is asked for")


def _ties(magnitude: Tensor, k: int) -> Tensor:
    """The entries of equal magnitude among which a Top-k must choose."""
    least = magnitude.topk(k, 1).values[:, -1:]
    return (magnitude == least) & ((magnitude >= least).sum(1, keepdim=True) > k)
