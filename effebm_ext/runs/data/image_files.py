"""Image data sets in the formats in which they are distributed, read from local files.

Every reader takes a folder, and reads labels too if it is asked for them. It raises
FileNotFoundError if a file is missing, and ValueError if a file is not what its name says.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from effebm_ext.runs.data.cifar10 import read_cifar10
from effebm_ext.runs.data.files import Images, find, read
from effebm_ext.runs.data.image_folder import read_images

_IDX_UINT8 = 0x0800  # two zero bytes, the type; then the number of axes
_EMNIST = "emnist-"


def read_mnist(folder: Path, *, name: str = "MNIST", labels: bool = False) -> Images:
    """Reads the training images of MNIST or Fashion-MNIST, ``train-images-idx3-ubyte``, and their
    labels, ``train-labels-idx1-ubyte``: plain or .gz, with a dot before idx or a hyphen. They lie
    in the folder, or in ``raw`` or ``{name}/raw`` below it, where torchvision puts them.

    The files of EMNIST have names such as ``emnist-letters-train-images-idx3-ubyte``, and their
    images lie on their side, which is undone."""
    names = [*_idx_names("", "images", 3), *_idx_names(f"{_EMNIST}*-", "images", 3)]
    path = find(folder, names, ("raw", f"{name}/raw"))
    images, lie = _read_idx(path, "images", 3), path.name.startswith(_EMNIST)
    if lie:
        images = images.swapaxes(1, 2)
    classes = None
    if labels:
        before = path.name.partition("train-")[0]
        path = find(path.parent, _idx_names(before, "labels", 1))
        classes = _read_idx(path, "labels", 1).astype(np.int64)
        if len(classes) != len(images):
            raise ValueError(f"data: expected {len(images)} labels in {path}, got {len(classes)}")
    return Images(images[:, None], classes, ("rows and columns swapped",) * lie)


def _idx_names(before: str, what: str, axes: int) -> list[str]:
    return [f"{before}train-{what}{dot}idx{axes}-ubyte{gz}" for dot in "-." for gz in ("", ".gz")]


def _read_idx(path: Path, what: str, axes: int) -> np.ndarray:
    """Reads an IDX file: a magic number and the sizes of the axes as big-endian 32-bit integers,
    then the bytes."""
    content, start = read(path), 4 + 4 * axes
    if len(content) < start or int.from_bytes(content[:4], "big") != _IDX_UINT8 + axes:
        raise ValueError(f"data: {path} is not an IDX file of {what} (uint8, {axes} axes)")
    shape = [int(size) for size in np.frombuffer(content, ">u4", axes, offset=4)]
    got = len(content) - start
    if got != math.prod(shape) or got == 0:
        sizes = " x ".join(map(str, shape))
        raise ValueError(f"data: expected {sizes} bytes of {what} in {path}, got {got}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


READERS: dict[str, Callable[..., Images]] = {
    "mnist": read_mnist,
    "fashion-mnist": functools.partial(read_mnist, name="FashionMNIST"),
    "cifar10": read_cifar10,
    "images": read_images,
}
