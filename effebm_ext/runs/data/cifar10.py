"""CIFAR-10 in the two forms in which it is distributed, read from local files."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from effebm_ext.runs.data.files import Images, find, read

_PIXELS = 3 * 32 * 32  # the three planes
_CLASSES = 10
_BATCHES = range(1, 6)
_BELOW = ("cifar-10-batches-bin", "cifar-10-batches-py")


def read_cifar10(folder: Path, *, labels: bool = False) -> Images:
    """Reads the training images of CIFAR-10: of its binary version, ``data_batch_1.bin`` to
    ``data_batch_5.bin``, or of its Python version, ``data_batch_1`` to ``data_batch_5``. They lie
    in the folder, or in the folder ``cifar-10-batches-bin`` or ``cifar-10-batches-py`` below it.
    Nothing in the files is executed.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or a label is not 0 to 9.
    """
    first = find(folder, ["data_batch_1.bin", "data_batch_1"], _BELOW)
    read_batch = _read_records if first.suffix else _read_pickle
    batches = []
    for number in _BATCHES:
        path = find(first.parent, [f"data_batch_{number}{first.suffix}"])
        pixels, classes = read_batch(path, read(path))
        if len(classes) and not 0 <= classes.min() <= classes.max() < _CLASSES:
            raise ValueError(
                f"data: expected labels 0 to {_CLASSES - 1} in {path}, got {classes.min()} to "
                f"{classes.max()}"
            )
        batches.append((pixels, classes))
    images, of_images = map(np.concatenate, zip(*batches, strict=True))
    return Images(images.reshape(-1, 3, 32, 32), of_images if labels else None)


def _read_records(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Reads records of a label and the pixels, plane by plane."""
    size = 1 + _PIXELS
    if not content or len(content) % size:
        raise ValueError(
            f"data: expected records of {size} bytes in {path}, got {len(content)} bytes in all"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    return records[:, 1:], records[:, 0].astype(np.int64)


def _read_pickle(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Reads a dict of an array of pixels, uint8 ``(n, 3072)``, and a list of labels."""
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        (_, (n, width), kind, by_columns, pixels) = _entry(batch, "data").state
        labels = np.array(_entry(batch, "labels"))
        is_uint8 = kind.arguments[0] in ("u1", b"u1")
        if not is_uint8 or width != _PIXELS or by_columns:
            raise ValueError(f"its array is not of type uint8 and shape (n, {_PIXELS})")
        if labels.shape != (n,) or labels.dtype.kind != "i":
            raise ValueError(f"it has no {n} integers as labels")
        return np.frombuffer(pixels, np.uint8).reshape(n, width), labels.astype(np.int64)
    except Exception as error:  # damaged pickles raise a dozen kinds
        raise ValueError(f"data: {path} is not a batch of CIFAR-10: {error}") from error


def _entry(batch: dict[Any, Any], name: str) -> Any:
    """Returns an entry, whose name is bytes if Python 2 has written it."""
    return batch[name.encode() if name.encode() in batch else name]


class _Part:
    """Stands for a part of NumPy's in a pickle and only keeps what the pickle says of it, so that
    the pickle cannot make NumPy do anything."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Reads numbers, strings, lists, dicts and the parts of NumPy's arrays; refuses all else."""

    def find_class(self, module: str, name: str) -> type:
        modules = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        if module in modules and name in ("_reconstruct", "ndarray", "dtype"):
            return _Part
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is never run")
