"""Pictures of a run: samples.png and curves.png."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

_GRID = 64  # images shown
_POINTS = 2000


def save(path: Path, figure: Figure) -> None:
    """Saves a figure as a PNG file."""
    figure.savefig(path, dpi=120, bbox_inches="tight")


def draw_samples(
    samples: Tensor, data: Tensor, *, is_image: bool, labels: Tensor | None = None
) -> Figure:
    """Draws a grid of images; for other samples it draws their first two coordinates, over the
    coordinates of data.

    Args:
        samples: ``(n, *event)``.
        data: ``(m, *event)``; sets the grey scale of images and the axes of points.
        is_image: whether an event is ``(channels, height, width)``.
        labels: the labels of the samples, ``(n,)``; the images are shown in the order of their
            classes.
    """
    figure = Figure(figsize=(6, 6))
    axes = figure.subplots()
    if is_image:
        if labels is not None:
            samples = samples[labels[:_GRID].argsort(stable=True)]
        low, high = float(data.min()), float(data.max())
        image = image_grid(((samples[:_GRID] - low) / ((high - low) or 1.0)).clamp(0, 1))
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.axis("off")
    else:
        for points, label in ((data, "data"), (samples, "samples")):
            flat = points.flatten(1).numpy()
            if flat.shape[1] == 1:
                axes.hist(flat[:, 0], bins=80, density=True, histtype="step", label=label)
            else:
                axes.scatter(flat[:_POINTS, 0], flat[:_POINTS, 1], s=3, label=label)
        axes.legend()
    return figure


def n_shown(samples: Tensor, *, is_image: bool) -> int:
    """Returns how many of the samples ``(n, *event)`` :func:`draw_samples` shows."""
    if is_image:
        return min(len(samples), _GRID)
    return len(samples) if samples[0].numel() == 1 else min(len(samples), _POINTS)


def image_grid(images: Tensor) -> np.ndarray:
    """Puts images ``(n, channels, height, width)`` side by side, with a pixel between them, into
    one picture ``(rows, columns)`` or ``(rows, columns, 3)``."""
    n, channels, height, width = images.shape
    across = math.ceil(math.sqrt(n))
    down = math.ceil(n / across)
    grid = np.full((down * (height + 1) + 1, across * (width + 1) + 1, channels), 0.5)
    for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        top, left = i // across * (height + 1) + 1, i % across * (width + 1) + 1
        grid[top : top + height, left : left + width] = image
    return grid[..., 0] if channels == 1 else grid


def save_curves(path: Path, metrics: Sequence[dict[str, float]]) -> None:
    """Plots every metric against the iteration, one panel each."""
    names = list(dict.fromkeys(name for m in metrics for name in m))
    names = [name for name in names if name not in ("iteration", "seconds")]
    figure = Figure(figsize=(7, 1.8 * len(names)))
    panels = figure.subplots(len(names), 1, sharex=True)
    for name, axes in zip(names, panels, strict=True):
        seen = [m for m in metrics if name in m]  # some iterations lack the metrics of a hook
        axes.plot([m["iteration"] for m in seen], [m[name] for m in seen], linewidth=0.8)
        axes.set_ylabel(name.replace("_", " "))
    panels[-1].set_xlabel("iteration")
    save(path, figure)
