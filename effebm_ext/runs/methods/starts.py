"""Where chains start: noise, data, or the rows of a file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from effebm_ext.rows import Rows

NOISE, UNIFORM, DATA = "noise", "uniform", "data"


def absolute_init(init: str) -> str:
    """Returns ``init`` with an absolute path, which means the same in every folder, if it names a
    file that is there. Anything else stays as it is, for errors to name."""
    path = os.path.abspath(os.path.expanduser(init))
    return path if init not in (NOISE, UNIFORM, DATA) and os.path.isfile(path) else init


def draw_starts(
    init: str,
    bounds: tuple[float, float] | None,
    rows: Rows,
    n: int,
    generator: torch.Generator,
) -> Tensor:
    """Draws starts of chains, float32 ``(n, *event)``.

    Args:
        init: ``noise``, Gaussian noise of the mean and the standard deviation of all elements of
            the rows; ``uniform``, uniform noise within the bounds, or else within the range of the
            rows; otherwise every start is one of the rows.
        bounds: the limits of the chains, if they have any.
        rows: ``(k, *event)``, as :func:`rows_of_starts` returns them.
        n: the number of starts.
        generator: a CPU generator.
    """
    shape = (n, *rows.shape[1:])
    if init == NOISE:
        noise = torch.randn(shape, generator=generator)
        return rows.mean() + rows.std(correction=0) * noise
    if init == UNIFORM:
        low, high = bounds or (float(rows.min()), float(rows.max()))
        return low + (high - low) * torch.rand(shape, generator=generator)
    return rows[torch.randint(len(rows), (n,), generator=generator)]


def rows_of_starts(init: str, data: Rows, *, labelled: bool = False) -> Rows:
    """Returns the rows by which starts are drawn: those of the .npy file that ``init`` names, an
    array ``(m, *event)``, or else the data ``(k, *event)``. Chains that are ``labelled`` cannot
    start at rows of a file, whose classes nobody knows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no finite numbers of the shape ``(m, *event)``, m > 0, or chains
            have labels.
    """
    if init in (NOISE, UNIFORM, DATA):
        return data
    path, event_shape = Path(init).expanduser(), data.shape[1:]
    if not path.is_file():
        raise FileNotFoundError(f"init: expected noise, uniform, data or a .npy file, got {init!r}")
    if labelled:
        raise ValueError(
            "init: expected noise, uniform or data in a conditional run, as rows of a file have no "
            f"labels and may be of other classes than their chains, got {init!r}"
        )
    try:
        rows = torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
    except (TypeError, ValueError) as error:
        raise ValueError(f"init: {path} is no .npy file of numbers: {error}") from error
    if rows.shape[1:] != event_shape or len(rows) == 0 or not bool(rows.isfinite().all()):
        raise ValueError(
            f"init: expected finite numbers of shape (m, {', '.join(map(str, event_shape))}) in "
            f"{path}, got shape {tuple(rows.shape)}"
        )
    return rows
