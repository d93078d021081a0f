"""How well scores tell pictures of the training's kind from other pictures."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from effebm_ext.runs.evaluation.ood import out_of_distribution
from experiments.common.records import Row

KINDS = ("other set", "rotated", "permuted", "uniform noise")
GROUPS = {"energy": None, "typicality of 1": 1, "typicality of 2": 2}


def others(x: Tensor, foreign: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Returns pictures that a model should find unlikely, by their kind.

    Args:
        x: pictures of the training's kind, ``(n, channels, side, side)`` in [-1, 1], from which the
            rotated and the permuted ones are made. They should not be among the pictures that
            the result is compared with, so that the two samples are independent.
        foreign: pictures of another set, of the same shape.
        generator: a CPU generator of the permutations and the noise.
    """
    return {
        "other set": foreign,
        "rotated": x.rot90(dims=(-2, -1)),
        "permuted": out_of_distribution("permuted", x, seed=0)(generator),
        "uniform noise": 2 * torch.rand(x.shape, generator=generator) - 1,
    }


def scores(energies: Tensor, of_training: float, group: int | None) -> Tensor:
    """Returns what is large for unlikely pictures: their energies ``(n,)`` or, with a group of M
    pictures, their distance from typical ones ``(n // M,)``, ``|mean of M energies - mean energy of
    the training pictures|`` (Nalisnick et al. 2019, arXiv 1906.02994)."""
    if group is None:
        return energies
    whole = energies[: len(energies) // group * group]
    return (whole.view(-1, group).mean(1) - of_training).abs()


def standard_error(auroc: float, n_in: int, n_out: int) -> float:
    """Returns the standard error of an AUROC by Hanley and McNeil (Radiology 143, 1982). It is 0
    for an AUROC of 0 or 1."""
    among_out, among_in = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc)
    variance += (n_out - 1) * (among_out - auroc**2) + (n_in - 1) * (among_in - auroc**2)
    return math.sqrt(max(0.0, variance) / (n_in * n_out))


def detection(scores_in: Tensor, scores_out: Tensor) -> Row:
    """Returns the AUROC with its standard error, and the average precision, with the pictures of
    the second set as those to be found. There should be as many of one set as of the other: the
    average precision of scores that say nothing is the share of the second set."""
    labels = np.repeat([0, 1], [len(scores_in), len(scores_out)])
    values = torch.cat([scores_in, scores_out]).double().numpy()
    auroc = float(roc_auc_score(labels, values))
    return {
        "auroc": auroc,
        "error": standard_error(auroc, len(scores_in), len(scores_out)),
        "average_precision": float(average_precision_score(labels, values)),
    }


def by_all_scores(
    energies: Tensor, of_others: dict[str, Tensor], of_training: float
) -> dict[str, dict[str, Row]]:
    """Returns the figures by score and kind, from the energies of pictures of the training's kind
    ``(n,)`` and of other pictures."""
    return {
        name: {
            kind: detection(scores(energies, of_training, group), scores(e, of_training, group))
            for kind, e in of_others.items()
        }
        for name, group in GROUPS.items()
    }
