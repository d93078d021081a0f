"""Data sets as one float32 tensor ``(n, *event)``."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from effebm_ext import image_files
from effebm_ext.rng import generator_for


@dataclasses.dataclass(frozen=True)
class Dataset:
    """``x``: float32 ``(n, *event)``. ``is_image``: an event is ``(channels, height, width)``."""

    name: str
    x: Tensor
    is_image: bool

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.x.shape[1:])

    def digest(self) -> str:
        """SHA-256 of all values: tells whether these are the data of a run."""
        return hashlib.sha256(self.x.contiguous().numpy().tobytes()).hexdigest()

    def split(self, holdout: float, *, seed: int) -> tuple[Dataset, Dataset]:
        """Rows to train on, and ``int(holdout * n)`` others to evaluate on, both in the order of a
        permutation that depends on ``seed`` and n alone: the first rows of either are as good a
        choice as any.

        Raises:
            ValueError: not 0 <= holdout < 1.
        """
        if not 0 <= holdout < 1:
            raise ValueError(f"holdout: expected 0 <= holdout < 1, got {holdout}")
        rows = torch.randperm(len(self.x), generator=generator_for("holdout", seed))
        kept = int(holdout * len(self.x))
        train, held_out = (self.x[some] for some in (rows[kept:], rows[:kept]))
        return dataclasses.replace(self, x=train), dataclasses.replace(self, x=held_out)


def digits() -> Dataset:
    """1797 handwritten digits of 8 x 8 pixels, bundled with scikit-learn, in [-1, 1]."""
    from sklearn.datasets import load_digits

    images = load_digits().images.astype(np.float32)
    return Dataset("digits", torch.from_numpy(images / 8.0 - 1.0)[:, None], is_image=True)


def eight_gaussians(n: int, rng: np.random.Generator) -> np.ndarray:
    """Eight Gaussians of standard deviation 0.1 on a circle of radius 1.5."""
    angle = rng.integers(0, 8, n) * (math.pi / 4)
    centres = 1.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return centres + 0.1 * rng.standard_normal((n, 2))


def two_moons(n: int, rng: np.random.Generator) -> np.ndarray:
    """Two interleaved half circles with Gaussian noise of 0.1."""
    upper = rng.integers(0, 2, n).astype(bool)
    angle = math.pi * rng.random(n)
    x = np.where(upper, np.cos(angle), 1.0 - np.cos(angle)) - 0.5
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle)) - 0.25
    return np.stack([x, y], axis=1) + 0.1 * rng.standard_normal((n, 2))


def rings(n: int, rng: np.random.Generator) -> np.ndarray:
    """Two concentric circles of radius 0.75 and 1.5 with radial noise of 0.08."""
    radius = np.where(rng.random(n) < 0.5, 0.75, 1.5) + 0.08 * rng.standard_normal(n)
    angle = 2 * math.pi * rng.random(n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


TOYS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "eight-gaussians": eight_gaussians,
    "two-moons": two_moons,
    "rings": rings,
}
_TOY_SAMPLES = 10_000


def load(source: str, *, seed: int = 0) -> Dataset:
    """A data set by name (``digits``, or one of the toys in ``TOYS``) or from a file.

    ``mnist:FOLDER``, ``fashion-mnist:FOLDER``, ``cifar10:FOLDER`` and ``images:FOLDER`` read local
    files (see :mod:`effebm_ext.image_files`), scaled to [-1, 1].

    A ``.npy`` file holds one array ``(n, *event)``, a ``.npz`` file one array, or one named ``x``.
    Events of three axes whose first is 1 or 3 are taken for images. Values are used as they are:
    scale them to a standard deviation of about one.

    Args:
        source: the name, with a folder where it needs one, or the path of a .npy or .npz file.
        seed: of the toy data sets, which are drawn anew.

    Raises:
        FileNotFoundError: there is no such file, or the folder lacks one.
        ValueError: not a known name or a readable file; an array with fewer than two axes, no
            rows, no numbers, or values that are not finite.
    """
    if source == "digits":
        return digits()
    if source in TOYS:
        points = TOYS[source](_TOY_SAMPLES, np.random.default_rng(seed % 2**64))
        return Dataset(source, torch.from_numpy(points.astype(np.float32)), is_image=False)
    kind, _, folder = source.partition(":")
    if folder and kind in image_files.READERS:
        pixels = image_files.READERS[kind](Path(folder))
        x = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1.0)
        return Dataset(kind, x, is_image=True)
    path = Path(source)
    if path.suffix not in (".npy", ".npz"):
        names = ", ".join(["digits", *TOYS, *(f"{kind}:FOLDER" for kind in image_files.READERS)])
        raise ValueError(f"data: expected {names}, or a .npy or .npz file, got {source!r}")
    return _from_array(path.stem, source, _read_array(path))


def _read_array(path: Path) -> np.ndarray:
    if not path.exists():
        raise FileNotFoundError(f"data: no such file: {path}")
    try:
        content = np.load(path, allow_pickle=False)
        arrays = {"x": content} if isinstance(content, np.ndarray) else dict(content)
    except Exception as error:  # numpy's readers raise a dozen kinds
        raise ValueError(f"data: {path} is not a readable {path.suffix} file: {error}") from error
    if len(arrays) != 1 and "x" not in arrays:
        raise ValueError(f"data: expected one array in {path}, or one named x, got {list(arrays)}")
    return arrays["x"] if "x" in arrays else next(iter(arrays.values()))


def _from_array(name: str, source: str, array: np.ndarray) -> Dataset:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        kind = getattr(array, "dtype", type(array).__name__)
        raise ValueError(f"data: expected numbers in {source}, got dtype {kind}")
    if array.ndim < 2 or array.size == 0:
        raise ValueError(
            f"data: expected an array (n, *event) with n >= 1 in {source}, got shape {array.shape}"
        )
    with np.errstate(over="ignore"):
        x = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise ValueError(
            f"data: expected finite values in {source}, got {bad} that are not, as float32"
        )
    return Dataset(name, x, is_image=x.dim() == 4 and x.shape[1] in (1, 3))
