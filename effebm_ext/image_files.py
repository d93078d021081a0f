"""Image data sets in the formats in which they are distributed, read from local files.

Every reader takes a folder and returns uint8 ``(n, channels, height, width)``. It raises
FileNotFoundError where a file is missing and ValueError where one is not what its name says.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np

_IDX_UINT8_3D = 0x0803  # two zero bytes, the type, the number of axes
_CIFAR_RECORD = 1 + 3 * 32 * 32  # a label, then the three planes
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def read_mnist(folder: Path) -> np.ndarray:
    """The training images of MNIST or Fashion-MNIST: ``train-images-idx3-ubyte``, plain or .gz.

    IDX: a magic number and the sizes of the axes, big-endian 32-bit integers, then the pixels.
    """
    path = _first_existing(folder, ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"])
    content = _read(path)
    header = np.frombuffer(content[:16], ">u4")
    if len(header) < 4 or header[0] != _IDX_UINT8_3D:
        raise ValueError(f"data: {path} is not an IDX file of images (uint8 with three axes)")
    n, height, width = (int(size) for size in header[1:])
    if len(content) != 16 + n * height * width or n * height * width == 0:
        raise ValueError(
            f"data: expected {n} x {height} x {width} pixels in {path}, got {len(content) - 16}"
        )
    return np.frombuffer(content, np.uint8, offset=16).reshape(n, 1, height, width)


def read_cifar10(folder: Path) -> np.ndarray:
    """The training images of CIFAR-10's binary version: ``data_batch_1.bin`` to
    ``data_batch_5.bin``, records of a label and 3072 pixels, plane by plane."""
    images: list[np.ndarray] = []
    for number in range(1, 6):
        path = _first_existing(folder, [f"data_batch_{number}.bin"])
        content = np.frombuffer(_read(path), np.uint8)
        if content.size == 0 or content.size % _CIFAR_RECORD:
            raise ValueError(
                f"data: expected records of {_CIFAR_RECORD} bytes in {path}, got {content.size} "
                "bytes in all"
            )
        images.append(content.reshape(-1, _CIFAR_RECORD)[:, 1:].reshape(-1, 3, 32, 32))
    return np.concatenate(images)


def read_images(folder: Path) -> np.ndarray:
    """Every image file in the folder and those below, in the order of their paths; all of one size.
    Grey where all of them are, else RGB."""
    from PIL import Image, UnidentifiedImageError

    if not folder.is_dir():
        raise FileNotFoundError(f"data: no such folder: {folder}")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"data: no image files ({', '.join(_SUFFIXES)}) in {folder}")
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
        return np.stack(images)[:, None]
    rgb = [np.repeat(p[..., None], 3, axis=2) if p.ndim == 2 else p for p in images]
    return np.ascontiguousarray(np.stack(rgb).transpose(0, 3, 1, 2))


READERS: dict[str, Callable[[Path], np.ndarray]] = {
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
