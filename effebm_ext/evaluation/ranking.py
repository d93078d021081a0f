"""Measures of how well a score tells two sets apart."""

from __future__ import annotations

import torch
from torch import Tensor


def auroc(scores_in: Tensor, scores_out: Tensor) -> float:
    """Returns the area under the ROC curve: how often a score of the second set is the greater,
    with ties counted by half.

    For out-of-distribution detection the scores are energies: 1 says that all of the second set
    have higher energies than any of the first, 0.5 that the energy does not tell the sets apart.
    The result is exact (the Mann-Whitney statistic), not an integral over thresholds.

    Args:
        scores_in: ``(n,)``, infinities allowed.
        scores_out: ``(m,)``.

    Raises:
        ValueError: either is not of one axis, empty, or has nan.
    """
    for name, scores in (("scores_in", scores_in), ("scores_out", scores_out)):
        if scores.dim() != 1 or len(scores) == 0 or bool(scores.isnan().any()):
            raise ValueError(
                f"{name}: expected shape (n,), n >= 1, without nan, got {tuple(scores.shape)} "
                f"with {int(scores.isnan().sum())} nan"
            )
    ordered, out = scores_in.double().sort().values, scores_out.double()
    below = (
        torch.searchsorted(ordered, out).sum() + torch.searchsorted(ordered, out, right=True).sum()
    )
    return int(below) / (2 * len(ordered) * len(out))
