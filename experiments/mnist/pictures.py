"""Samples beside the data that are nearest to them: are pictures new, or learned by heart?"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from effebm_ext.runs.showing import plotting

_SHOWN = 64


def nearest(x: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    """Returns, for each of ``x`` ``(n, *event)``, the Euclidean distance to the nearest of ``data``
    ``(m, *event)`` and its number, ``(n,)`` each."""
    distance, number = torch.cdist(x.flatten(1), data.flatten(1)).min(1)
    return distance, number


def save_neighbours(path: Path, samples: Tensor, data: Tensor) -> None:
    """Draws 64 samples beside the data nearest to them, each in its place."""
    shown = samples[:_SHOWN]
    neighbours = data[nearest(shown, data)[1]]
    figure = plotting.draw_progress(
        shown, data, is_image=True, labels=None, title="chains", beside=neighbours,
        beside_title="the nearest pictures trained on",
    )  # fmt: skip
    plotting.save(path, figure)
