"""Data sets as one float32 tensor ``(n, *event)``, with labels where they have some."""

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
    """``x``: float32 ``(n, *event)``. ``is_image``: an event is ``(channels, height, width)``.
    ``labels``: int64 ``(n,)`` from 0 on, or None.

    Raises:
        ValueError: there are not as many labels as rows.
    """

    name: str
    x: Tensor
    is_image: bool
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        if self.labels is not None and self.labels.shape != self.x.shape[:1]:
            raise ValueError(
                f"labels: expected shape ({len(self.x)},), got {tuple(self.labels.shape)}"
            )

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.x.shape[1:])

    @property
    def n_classes(self) -> int | None:
        """One more than the largest label; None without labels."""
        return None if self.labels is None else int(self.labels.max()) + 1

    def digest(self) -> str:
        """SHA-256 of all values and labels: tells whether these are the data of a run."""
        digest = hashlib.sha256(self.x.contiguous().numpy().tobytes())
        if self.labels is not None:
            digest.update(self.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()

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
        return self._take(rows[kept:]), self._take(rows[:kept])

    def _take(self, rows: Tensor) -> Dataset:
        labels = None if self.labels is None else self.labels[rows]
        return dataclasses.replace(self, x=self.x[rows], labels=labels)


def digits() -> Dataset:
    """1797 handwritten digits of 8 x 8 pixels, bundled with scikit-learn, in [-1, 1]."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = torch.from_numpy(bunch.images.astype(np.float32) / 8.0 - 1.0)[:, None]
    return Dataset("digits", x, is_image=True, labels=torch.from_numpy(bunch.target).long())


Points = tuple[np.ndarray, np.ndarray]  # (n, 2), and the mode of each as its label (n,)


def eight_gaussians(n: int, rng: np.random.Generator) -> Points:
    """Eight Gaussians of standard deviation 0.1 on a circle of radius 1.5."""
    mode = rng.integers(0, 8, n)
    angle = mode * (math.pi / 4)
    centres = 1.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return centres + 0.1 * rng.standard_normal((n, 2)), mode


def two_moons(n: int, rng: np.random.Generator) -> Points:
    """Two interleaved half circles with Gaussian noise of 0.1; the upper one has label 1."""
    upper = rng.integers(0, 2, n).astype(bool)
    angle = math.pi * rng.random(n)
    x = np.where(upper, np.cos(angle), 1.0 - np.cos(angle)) - 0.5
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle)) - 0.25
    return np.stack([x, y], axis=1) + 0.1 * rng.standard_normal((n, 2)), upper


def rings(n: int, rng: np.random.Generator) -> Points:
    """Two concentric circles of radius 0.75 and 1.5, which has label 1, with radial noise of
    0.08."""
    inner = rng.random(n) < 0.5
    radius = np.where(inner, 0.75, 1.5) + 0.08 * rng.standard_normal(n)
    angle = 2 * math.pi * rng.random(n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), ~inner


TOYS: dict[str, Callable[[int, np.random.Generator], Points]] = {
    "eight-gaussians": eight_gaussians,
    "two-moons": two_moons,
    "rings": rings,
}
_TOY_SAMPLES = 10_000


def load(source: str, *, seed: int = 0, labels: bool = False) -> Dataset:
    """A data set by name (``digits``, or one of the toys in ``TOYS``) or from a file.

    ``mnist:FOLDER``, ``fashion-mnist:FOLDER``, ``cifar10:FOLDER`` and ``images:FOLDER`` read local
    files (see :mod:`effebm_ext.image_files`), scaled to [-1, 1].

    A ``.npy`` file holds one array ``(n, *event)``, a ``.npz`` file one array, or one named ``x``.
    Events of three axes whose first is 1 or 3 are taken for images. Values are used as they are:
    scale them to a standard deviation of about one.

    Args:
        source: the name, with a folder where it needs one, or the path of a .npy or .npz file.
        seed: of the toy data sets, which are drawn anew.
        labels: read the labels too: of a ``.npz`` file the array named ``y``, integers ``(n,)``
            from 0 on, of images the sub-folders they lie in. Digits and toys always have theirs.

    Raises:
        FileNotFoundError: there is no such file, or the folder lacks one.
        ValueError: not a known name or a readable file; an array with fewer than two axes, no
            rows, no numbers, or values that are not finite; no labels or other ones.
    """
    if source == "digits":
        return digits()
    if source in TOYS:
        points, modes = TOYS[source](_TOY_SAMPLES, np.random.default_rng(seed % 2**64))
        x = torch.from_numpy(points.astype(np.float32))
        return Dataset(source, x, is_image=False, labels=torch.from_numpy(modes).long())
    kind, _, folder = source.partition(":")
    if folder and kind in image_files.READERS:
        pixels, y = image_files.READERS[kind](Path(folder), labels=labels)
        x = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1.0)
        return Dataset(kind, x, is_image=True, labels=None if y is None else torch.from_numpy(y))
    path = Path(source)
    if path.suffix not in (".npy", ".npz"):
        names = ", ".join(["digits", *TOYS, *(f"{kind}:FOLDER" for kind in image_files.READERS)])
        raise ValueError(f"data: expected {names}, or a .npy or .npz file, got {source!r}")
    arrays = _read_arrays(path)
    x = _check_values(source, arrays["x"] if "x" in arrays else next(iter(arrays.values())))
    is_image = x.dim() == 4 and x.shape[1] in (1, 3)
    classes = _check_labels(source, arrays.get("y"), len(x)) if labels else None
    return Dataset(path.stem, x, is_image, classes)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        raise FileNotFoundError(f"data: no such file: {path}")
    try:
        content = np.load(path, allow_pickle=False)
        arrays = {"x": content} if isinstance(content, np.ndarray) else dict(content)
    except Exception as error:  # numpy's readers raise a dozen kinds
        raise ValueError(f"data: {path} is not a readable {path.suffix} file: {error}") from error
    if len(arrays) != 1 and "x" not in arrays:
        raise ValueError(f"data: expected one array in {path}, or one named x, got {list(arrays)}")
    return arrays


def _check_values(source: str, array: np.ndarray) -> Tensor:
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
    return x


def _check_labels(source: str, array: np.ndarray | None, n: int) -> Tensor:
    if array is None:
        raise ValueError(f"data: expected labels in {source}: a .npz file with an array named y")
    if array.dtype.kind not in "iu" or array.shape != (n,):
        raise ValueError(
            f"data: expected integer labels y of shape ({n},) in {source}, "
            f"got {array.dtype} of shape {array.shape}"
        )
    classes = np.unique(array)
    if classes[0] != 0 or classes[-1] != len(classes) - 1:  # a class without data cannot be learnt
        raise ValueError(
            f"data: expected labels 0 to K - 1 in {source}, each at least once, "
            f"got {len(classes)} different from {classes[0]} to {classes[-1]}"
        )
    return torch.from_numpy(array.astype(np.int64))
