"""Data that a model has not been trained on, for out-of-distribution detection."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from effebm_ext.runs.data.dataset import load
from effebm_ext.runs.did_you_mean import did_you_mean

_OF_THE_DATA = ("permuted", "noise")  # sources that are made of the data of the model


def out_of_distribution(
    source: str, x: Tensor, *, seed: int, background: str = "white"
) -> Callable[[torch.Generator], Tensor]:
    """Returns a function that draws rows ``(m, *event)`` to compare with ``x`` ``(n, *event)``,
    with a CPU generator for the permutations, the noise and the order. The source is read at once,
    so that a source that cannot be read is refused before anything long begins.

    Args:
        source: ``permuted``, the rows of x, each with its elements in an order of its own;
            ``noise``, n rows of normals with the mean and standard deviation of all of x; or any
            source of :func:`effebm_ext.runs.data.dataset.load`, with its rows in random order.
            The images of ``images:FOLDER`` are resized to the size of x.
        x: data of the model.
        seed: the seed of toy data.
        background: for ``images:FOLDER``, as load.

    Raises:
        ValueError, FileNotFoundError: as load, with a message that names ood and all of its forms;
            or events have another shape.
    """
    if source == "permuted":
        return lambda generator: _permuted(x, generator)
    if source == "noise":
        mean, std = x.mean(), x.std(correction=0)
        return lambda generator: mean + std * torch.randn(x.shape, generator=generator)
    is_resized = source.startswith("images:") and x.ndim == 4
    resize = "x".join(map(str, x.shape[2:])) if is_resized else None
    try:
        other = load(source, seed=seed, resize=resize, background=background)
    except (FileNotFoundError, ValueError) as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        why = did_you_mean(source, _OF_THE_DATA) or f": {error}"
        raise kind(
            f"ood: expected {', '.join(_OF_THE_DATA)} or a source of data, got {source!r}{why}"
        ) from error
    if other.event_shape != x.shape[1:]:
        raise ValueError(
            f"ood: expected events of shape {tuple(x.shape[1:])}, "
            f"got {other.event_shape} from {source!r}"
        )
    return lambda generator: other.rows[torch.randperm(len(other.rows), generator=generator)]


def _permuted(x: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.rand(x.flatten(1).shape, generator=generator).argsort(1)
    return x.flatten(1).gather(1, order).view_as(x)
