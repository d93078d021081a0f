"""Where chains start: noise, data, or the rows of a file."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from effebm_ext.rows import Rows
from effebm_ext.runs.data.array_files import read_arrays

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
    """Returns the rows by which starts are drawn: those of the .npy or .npz file that ``init``
    names, read as data are (:func:`effebm_ext.runs.data.array_files.read_arrays`), so that a file
    means the same as data and as starts; or else the data ``(k, *event)``. Chains that are
    ``labelled`` cannot start at rows of a file, whose classes nobody knows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no .npy or .npz file that can be read as data, or its rows have
            another shape than the data's; or chains have labels.
    """
    if init in (NOISE, UNIFORM, DATA):
        return data
    path, event_shape = Path(init).expanduser(), data.shape[1:]
    expected = f"init: expected noise, uniform, data or a .npy or .npz file, got {init!r}"
    if not path.is_file():
        raise FileNotFoundError(expected)
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(expected)
    if labelled:
        raise ValueError(
            "init: expected noise, uniform or data in a conditional run, as rows of a file have no "
            f"labels and may be of other classes than their chains, got {init!r}"
        )
    rows = read_arrays(path, option="init").rows
    if rows.shape[1:] != event_shape:
        raise ValueError(
            f"init: expected shape (m, {', '.join(map(str, event_shape))}) in {path}, "
            f"got {tuple(rows.shape)}"
        )
    return rows
