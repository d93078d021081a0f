"""Pictures of a run: samples, curves and animations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from effebm_ext.rows import Rows
from effebm_ext.runs.atomic_files import replacing

_GRID = 64  # images shown
_POINTS = 2000
_FEW = 100  # values of a curve, below which all are shown
_FAR = 5  # times the width of a panel
_FRAMES = 60  # of an animation, at most
_FRAME_TIME = 200, 2000  # milliseconds of a frame, and of the last


def save(path: Path, figure: Figure) -> None:
    """Saves a figure as a PNG file.

    Raises:
        effebm_ext.runs.atomic_files.DiskFullError: there is no room for it.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, bbox_inches="tight")


def draw_samples(
    samples: Tensor, data: Rows, *, is_image: bool, labels: Tensor | None = None
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
        _show_images(axes, samples, data, labels)
    else:
        _show_points(axes, samples, data)
    return figure


def draw_progress(
    samples: Tensor,
    data: Rows,
    *,
    is_image: bool,
    labels: Tensor | None,
    data_labels: Tensor | None = None,
    title: str,
    beside: Rows | None = None,
    beside_title: str = "data",
) -> Figure:
    """Draws what :func:`draw_samples` draws, under a title, with images beside the first images of
    the data, or of ``beside`` in their place, in the order of their classes too if they have
    ``data_labels``."""
    if not is_image:
        figure = draw_samples(samples, data, is_image=False)
        _set_title(figure.axes[0], title)
        return figure
    figure = Figure(figsize=(12, 6))
    left, right = figure.subplots(1, 2)
    _show_images(left, samples, data, labels)
    _show_images(right, (data if beside is None else beside)[:_GRID], data, data_labels)
    _set_title(left, title)
    _set_title(right, beside_title)
    return figure


def _set_title(axes: Axes, title: str) -> None:
    """Shows a title as it is, as names of classes may have dollar signs, and bytes that are no
    text."""
    axes.set_title(title.encode(errors="backslashreplace").decode(), parse_math=False)


def _show_images(axes: Axes, images: Tensor, data: Rows, labels: Tensor | None = None) -> None:
    """Shows a grid of images on the grey scale of the data, in the order of their classes."""
    if labels is not None:
        images = images[labels[:_GRID].argsort(stable=True)]
    low, high = float(data.min()), float(data.max())
    image = image_grid(((images[:_GRID] - low) / ((high - low) or 1.0)).clamp(0, 1))
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.axis("off")


def _show_points(axes: Axes, samples: Tensor, data: Rows) -> None:
    shown = None if samples[0].numel() == 1 else _POINTS
    for points, label in ((data, "data"), (samples, "samples")):
        flat = points[:shown].flatten(1).numpy()
        if flat.shape[1] == 1:
            axes.hist(flat[:, 0], bins=80, density=True, histtype="step", label=label)
        else:
            axes.scatter(flat[:, 0], flat[:, 1], s=3, label=label)
    axes.legend()


def n_shown(samples: Rows, *, is_image: bool) -> int:
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
    """Plots every metric against the iteration, one panel each; nothing without metrics. A panel
    leaves out single values that lie so far off that nothing else could be seen beside them, and
    says how many they are."""
    if not metrics:
        return
    names = list(dict.fromkeys(name for m in metrics for name in m))
    names = [name for name in names if name not in ("iteration", "seconds")]
    figure = Figure(figsize=(7, 1.8 * len(names)))
    panels = figure.subplots(len(names), 1, sharex=True)
    for name, axes in zip(names, panels, strict=True):
        seen = [m for m in metrics if name in m]  # some iterations lack the metrics of a hook
        values = np.array([m[name] for m in seen])
        axes.plot([m["iteration"] for m in seen], values, linewidth=0.8)
        label = name.replace("_", " ")
        if (limits := _limits(values)) is not None:
            axes.set_ylim(*limits)
            outside = int(((values < limits[0]) | (values > limits[1])).sum())
            label += f"\n({outside} outside)"
        axes.set_ylabel(label)
    panels[-1].set_xlabel("iteration")
    save(path, figure)


def _limits(values: np.ndarray) -> tuple[float, float] | None:
    """Returns limits around all but one value in a hundred on either side, if others lie far
    outside; None if all can be shown, or if these are equal, so that the others are all there is
    to see."""
    finite = values[np.isfinite(values)]
    if len(finite) < _FEW:
        return None
    low, high = np.quantile(finite, (0.01, 0.99))
    margin = high - low
    near = low - _FAR * margin <= finite.min() and finite.max() <= high + _FAR * margin
    if margin == 0 or near:
        return None
    return float(low - 0.1 * margin), float(high + 0.1 * margin)


def save_animation(path: Path, frames: Sequence[Path]) -> None:
    """Saves pictures, one after the other, as a GIF of at most 61 frames; the last one stays
    longest."""
    step = math.ceil(len(frames) / _FRAMES)
    shown = [*frames[:-1:step], frames[-1]]
    images = []
    for frame in shown:
        with Image.open(frame) as image:
            images.append(image.convert("RGB"))
    size = images[-1].size  # the lengths of titles differ
    first, *others = [i if i.size == size else i.resize(size) for i in images]
    each, last = _FRAME_TIME
    times = [each] * len(others) + [last]
    with replacing(path) as temporary:
        first.save(temporary, save_all=True, append_images=others, duration=times, loop=0)
