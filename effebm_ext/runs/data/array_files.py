"""Reading of data from a .npy or .npz file of NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from effebm_ext.rows import Rows, pieces, pixels

_MAPPED = 2**28  # bytes of a file


class Arrays(NamedTuple):
    """The content of a file.

    Attributes:
        rows: float32 ``(n, *event)``.
        labels: int64 ``(n,)`` or None.
        changes: what was changed in the rows, in words.
        is_scaled: whether the rows are pixels that were scaled to [-1, 1].
    """

    rows: Rows
    labels: Tensor | None
    changes: tuple[str, ...]
    is_scaled: bool


def read_arrays(path: Path, *, labels: bool = False, option: str = "data") -> Arrays:
    """Reads the array of a file, or the array named ``x`` if a .npz file has several; with
    ``labels`` also the array named ``y``. Errors name the ``option`` that named the file.

    Arrays of pixels become images as networks take them: values of type uint8 are scaled from 0 to
    255 to [-1, 1], unless all are 0 or 1, and integers of another type too if they lie in 0 to 255
    and the largest is at least 128; images get an axis of channels, or have it moved to the
    first place (:func:`with_channels_first`). They stay uint8 until rows are taken. A .npy file of
    256 MiB and more is mapped into memory, and so must not change as long as its rows are used.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read; the array has fewer than two axes, no rows, no numbers,
            or values that are not finite, or is one picture or pixels with transparency; the labels
            are missing, or are not integers ``(n,)``.
    """
    if not path.exists():
        raise FileNotFoundError(f"{option}: no such file: {path}")
    try:
        return _read(path, labels)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error


def _read(path: Path, labels: bool) -> Arrays:
    arrays = _load(path)
    array = arrays["x"] if "x" in arrays else next(iter(arrays.values()))
    values, changes = _values(path, array), []
    is_pixels = values.dtype == torch.uint8
    if is_pixels:
        _check_pictures(path, values.shape)
    is_scaled = is_pixels and bool(values.max() > 1)
    if is_scaled:
        changes.append("scaled from 0 to 255")
    values, turned = with_channels_first(values, is_pixels=is_pixels)
    y = _labels(path, arrays.get("y"), len(values)) if labels else None
    rows = pixels(values, scaled=is_scaled) if is_pixels else values
    return Arrays(rows, y, (*changes, *turned), is_scaled)


def with_channels_first(x: Tensor, *, is_pixels: bool) -> tuple[Tensor, list[str]]:
    """Returns ``x`` with events ``(channels, height, width)`` where they are surely images in
    another order of axes, and says in words what was changed.

    Events of three axes whose last is 1 or 3, and whose first is not, have their channels last.
    Pixels, values of type uint8, with events of two axes are images of one channel.
    """
    channels = (1, 3)
    if x.dim() == 4 and x.shape[1] not in channels and x.shape[3] in channels:
        return x.movedim(3, 1).contiguous(), ["channels moved from the last axis to the first"]
    if is_pixels and x.dim() == 3 and min(x.shape[1:]) > 1:
        return x[:, None], ["an axis of one channel added"]
    return x, []


def _load(path: Path) -> dict[str, np.ndarray]:
    # Writes would go to a copy, but nothing writes: PyTorch warns of arrays that are read-only.
    mode: Literal["c"] | None = "c" if path.stat().st_size >= _MAPPED else None
    try:
        content = np.load(path, mmap_mode=mode, allow_pickle=False)
        arrays = {"x": content} if isinstance(content, np.ndarray) else dict(content)
    except Exception as error:  # numpy's readers raise a dozen kinds
        raise ValueError(f"{path} is not a readable {path.suffix} file: {error}") from error
    if len(arrays) != 1 and "x" not in arrays:
        raise ValueError(f"expected one array in {path}, or one named x, got {list(arrays)}")
    return arrays


def _values(path: Path, array: np.ndarray) -> Tensor:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        kind = getattr(array, "dtype", type(array).__name__)
        raise ValueError(f"expected numbers in {path}, got dtype {kind}")
    if array.ndim < 2 or array.size == 0:
        raise ValueError(
            f"expected an array (n, *event) with n >= 1 in {path}, got shape {array.shape}"
        )
    if array.dtype == np.uint8 or _are_pixels(array):
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.uint8))
    with np.errstate(over="ignore"):
        x = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    bad = sum(int((~torch.isfinite(piece)).sum()) for piece in pieces(x))
    if bad:
        raise ValueError(f"expected finite values in {path}, got {bad} that are not, as float32")
    return x


def _are_pixels(array: np.ndarray) -> bool:
    """Returns whether integers have the range of pixels, which counts of a few do not have."""
    return array.dtype.kind in "iu" and bool(array.min() >= 0) and 128 <= array.max() <= 255


def _check_pictures(path: Path, shape: Sequence[int]) -> None:
    """Refuses pixels that would be taken for something else than what they surely are."""
    got = f"got shape {tuple(shape)} in {path}"
    if len(shape) == 4 and 4 in (shape[1], shape[3]):
        colours = "x[..., :3]" if shape[3] == 4 else "x[:, :3]"
        raise ValueError(
            f"expected pixels of 1 or 3 channels, {got}: {colours} drops the alpha channel, "
            "and x.reshape(len(x), -1) makes vectors"
        )
    if len(shape) == 3 and shape[2] in (3, 4) and min(shape[:2]) > 4:
        raise ValueError(
            f"expected images (n, height, width, channels), {got}: it looks like one "
            "picture; numpy.stack(pictures) makes one array of many"
        )


def _labels(path: Path, array: np.ndarray | None, n: int) -> Tensor:
    if array is None:
        raise ValueError(f"expected labels in {path}: a .npz file with an array named y")
    if array.dtype.kind not in "iu" or array.shape != (n,):
        raise ValueError(
            f"expected integer labels y of shape ({n},) in {path}, "
            f"got {array.dtype} of shape {array.shape}"
        )
    return torch.from_numpy(array.astype(np.int64))
