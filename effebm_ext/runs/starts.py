"""Where chains start: noise, data, or the rows of a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from effebm_ext.rows import Rows

NOISE, UNIFORM, DATA = "noise", "uniform", "data"


def draw_starts(
    init: str,
    bounds: tuple[float, float] | None,
    data: Rows,
    n: int,
    generator: torch.Generator,
) -> Tensor:
    """Draws starts of chains, float32 ``(n, *event)``.

    Args:
        init: ``noise``, Gaussian noise of the mean and the standard deviation of all elements of
            the data; ``uniform``, uniform noise within the bounds, or else within the range of the
            data; ``data``, rows of the data; or the path of a .npy file, an array
            ``(m, *event)`` of whose rows every start is one.
        bounds: the limits of the chains, if they have any.
        data: ``(k, *event)``.
        n: the number of starts.
        generator: a CPU generator.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no finite numbers of the shape ``(m, *event)``, m > 0.
    """
    shape = (n, *data.shape[1:])
    if init == NOISE:
        noise = torch.randn(shape, generator=generator)
        return data.mean() + data.std(correction=0) * noise
    if init == UNIFORM:
        low, high = bounds or (float(data.min()), float(data.max()))
        return low + (high - low) * torch.rand(shape, generator=generator)
    rows = data if init == DATA else _rows_of_file(init, data.shape[1:])
    return rows[torch.randint(len(rows), (n,), generator=generator)]


def _rows_of_file(name: str, event_shape: torch.Size) -> Tensor:
    path = Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"init: expected noise, uniform, data or a .npy file, got {name!r}")
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
