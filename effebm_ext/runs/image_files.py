"""Image data sets in the formats in which they are distributed, read from local files.

Every reader takes a folder and returns uint8 or uint16 ``(n, channels, height, width)`` and the
labels, int64 ``(n,)``, or None if it is not asked for labels. It raises FileNotFoundError if a file
is missing, and ValueError if a file is not what its name says.
"""

from __future__ import annotations

import functools
import gzip
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from effebm_ext.runs.image_folder import read_images

_IDX_UINT8 = 0x0800  # two zero bytes, the type; then the number of axes
_CIFAR_RECORD = 1 + 3 * 32 * 32  # a label, then the three planes
_LISTED = 12
_Arrays = tuple[np.ndarray, np.ndarray | None]


def read_mnist(folder: Path, *, name: str = "MNIST", labels: bool = False) -> _Arrays:
    """Reads the training images of MNIST or Fashion-MNIST, ``train-images-idx3-ubyte``, and their
    labels, ``train-labels-idx1-ubyte``: plain or .gz, with a dot before idx or a hyphen. They lie
    in the folder, or in ``raw`` or ``{name}/raw`` below it, where torchvision puts them."""
    path = _find(folder, _idx_names("images", 3), ("raw", f"{name}/raw"))
    images = _read_idx(path, "images", 3)[:, None]
    if not labels:
        return images, None
    path = _find(path.parent, _idx_names("labels", 1))
    classes = _read_idx(path, "labels", 1)
    if len(classes) != len(images):
        raise ValueError(f"data: expected {len(images)} labels in {path}, got {len(classes)}")
    return images, classes.astype(np.int64)


def _idx_names(what: str, axes: int) -> list[str]:
    return [f"train-{what}{dot}idx{axes}-ubyte{gz}" for dot in "-." for gz in ("", ".gz")]


def _read_idx(path: Path, what: str, axes: int) -> np.ndarray:
    """Reads an IDX file: a magic number and the sizes of the axes as big-endian 32-bit integers,
    then the bytes."""
    content, start = _read(path), 4 + 4 * axes
    if len(content) < start or int.from_bytes(content[:4], "big") != _IDX_UINT8 + axes:
        raise ValueError(f"data: {path} is not an IDX file of {what} (uint8, {axes} axes)")
    shape = [int(size) for size in np.frombuffer(content, ">u4", axes, offset=4)]
    got = len(content) - start
    if got != math.prod(shape) or got == 0:
        sizes = " x ".join(map(str, shape))
        raise ValueError(f"data: expected {sizes} bytes of {what} in {path}, got {got}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_cifar10(folder: Path, *, labels: bool = False) -> _Arrays:
    """Reads the training images of CIFAR-10's binary version, ``data_batch_1.bin`` to
    ``data_batch_5.bin``, which hold records of a label and 3072 pixels, plane by plane. They lie in
    the folder or in ``cifar-10-batches-bin`` below it."""
    place = _find(folder, ["data_batch_1.bin"], ("cifar-10-batches-bin",)).parent
    batches: list[np.ndarray] = []
    for number in range(1, 6):
        path = _find(place, [f"data_batch_{number}.bin"])
        content = np.frombuffer(_read(path), np.uint8)
        if content.size == 0 or content.size % _CIFAR_RECORD:
            raise ValueError(
                f"data: expected records of {_CIFAR_RECORD} bytes in {path}, got {content.size} "
                "bytes in all"
            )
        batches.append(content.reshape(-1, _CIFAR_RECORD))
    records = np.concatenate(batches)
    images = records[:, 1:].reshape(-1, 3, 32, 32)
    return images, records[:, 0].astype(np.int64) if labels else None


READERS: dict[str, Callable[..., _Arrays]] = {
    "mnist": read_mnist,
    "fashion-mnist": functools.partial(read_mnist, name="FashionMNIST"),
    "cifar10": read_cifar10,
    "images": read_images,
}


def _find(folder: Path, names: list[str], below: tuple[str, ...] = ()) -> Path:
    """Finds the first file with one of the names, in the folder or else in a folder below it."""
    if not folder.is_dir():
        raise FileNotFoundError(f"data: no such folder: {folder}")
    for place in (folder, *(folder / path for path in below)):
        for name in names:
            if (place / name).is_file():
                return place / name
    there = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    listed = ", ".join(there[:_LISTED]) + ", ..." * (len(there) > _LISTED)
    places = " or below it in ".join([str(folder), " or ".join(below)] if below else [str(folder)])
    raise FileNotFoundError(
        f"data: expected {' or '.join(names)} in {places}, got {listed or 'an empty folder'}"
    )


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"data: {path} is not a whole gzip file: {error}") from error
