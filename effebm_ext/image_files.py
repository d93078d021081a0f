"""Image data sets in the formats in which they are distributed, read from local files.

Every reader takes a folder and returns uint8 ``(n, channels, height, width)`` and the labels, int64
``(n,)``, or None where it is not asked for them. It raises FileNotFoundError where a file is
missing and ValueError where one is not what its name says.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

_IDX_UINT8 = 0x0800  # two zero bytes, the type; then the number of axes
_CIFAR_RECORD = 1 + 3 * 32 * 32  # a label, then the three planes
_Arrays = tuple[np.ndarray, np.ndarray | None]
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def read_mnist(folder: Path, *, labels: bool = False) -> _Arrays:
    """The training images of MNIST or Fashion-MNIST: ``train-images-idx3-ubyte``, plain or .gz, and
    their labels, ``train-labels-idx1-ubyte``."""
    images = _read_idx(folder, "images", 3)[:, None]
    if not labels:
        return images, None
    classes = _read_idx(folder, "labels", 1)
    if len(classes) != len(images):
        raise ValueError(f"data: expected {len(images)} labels in {folder}, got {len(classes)}")
    return images, classes.astype(np.int64)


def _read_idx(folder: Path, what: str, axes: int) -> np.ndarray:
    """IDX: a magic number and the sizes of the axes, big-endian 32-bit integers, then the bytes."""
    name = f"train-{what}-idx{axes}-ubyte"
    path = _first_existing(folder, [name, f"{name}.gz"])
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
    """The training images of CIFAR-10's binary version: ``data_batch_1.bin`` to
    ``data_batch_5.bin``, records of a label and 3072 pixels, plane by plane."""
    batches: list[np.ndarray] = []
    for number in range(1, 6):
        path = _first_existing(folder, [f"data_batch_{number}.bin"])
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


def read_images(folder: Path, *, labels: bool = False) -> _Arrays:
    """Every image file in the folder and those below, in the order of their paths; all of one size.
    Grey where all of them are, else RGB. The classes are the sub-folders in the order of their
    names."""
    from PIL import Image, UnidentifiedImageError

    if not folder.is_dir():
        raise FileNotFoundError(f"data: no such folder: {folder}")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"data: no image files ({', '.join(_SUFFIXES)}) in {folder}")
    classes = _classes_of(folder, paths) if labels else None
    images: list[np.ndarray] = []
    for path in paths:
        try:
            with Image.open(path) as image:
                grey = image.mode in ("1", "L", "I;16")
                pixels = np.asarray(image.convert("L" if grey else "RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(f"data: {path} is not a readable image: {error}") from error
        if images and pixels.shape[:2] != images[0].shape[:2]:
            expected, got = ("x".join(map(str, p.shape[1::-1])) for p in (images[0], pixels))
            raise ValueError(f"data: expected images of one size, {expected}, got {got}: {path}")
        images.append(pixels)
    if all(pixels.ndim == 2 for pixels in images):
        return np.stack(images)[:, None], classes
    rgb = [np.repeat(p[..., None], 3, axis=2) if p.ndim == 2 else p for p in images]
    return np.ascontiguousarray(np.stack(rgb).transpose(0, 3, 1, 2)), classes


def _classes_of(folder: Path, paths: list[Path]) -> np.ndarray:
    names = [path.relative_to(folder).parts[0] for path in paths]
    if any(path.parent == folder for path in paths):
        raise ValueError(f"data: expected every image in a sub-folder of its class in {folder}")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


READERS: dict[str, Callable[..., _Arrays]] = {
    "mnist": read_mnist,
    "fashion-mnist": read_mnist,
    "cifar10": read_cifar10,
    "images": read_images,
}


def _first_existing(folder: Path, names: list[str]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"data: expected {' or '.join(names)} in {folder}")


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise ValueError(f"data: {path} is not a whole gzip file: {error}") from error
