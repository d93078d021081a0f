"""Data sets of float32 rows ``(n, *event)``, with labels if they have any."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from effebm_ext.rng import generator_for
from effebm_ext.rows import Rows, StoredRows, pieces, pixels
from effebm_ext.runs.data import image_files
from effebm_ext.runs.data.array_files import read_arrays
from effebm_ext.runs.data.doubts import doubts
from effebm_ext.runs.data.image_folder import BACKGROUNDS
from effebm_ext.runs.data.resizing import parse_size
from effebm_ext.runs.data.sources import absolute, advice
from effebm_ext.runs.data.toys import TOYS
from effebm_ext.scalars import as_float, as_int

POINTS, SMALL_IMAGES, IMAGES = KINDS = ("points", "small images", "images")
_LEAST_SIDE = 16  # pixels, of images that are not small
_NAMED = 10  # classes


def kind_of(event_shape: Sequence[int], *, is_image: bool) -> str:
    """Returns the kind of data: ``images``, of at least 16 x 16 pixels, ``small images``, or
    ``points`` for all other data."""
    if not is_image:
        return POINTS
    return IMAGES if min(event_shape[1:]) >= _LEAST_SIDE else SMALL_IMAGES


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
        name: the name of the data.
        rows: float32 ``(n, *event)``: a tensor, or rows that are kept as they are stored and become
            float32 where they are taken, ``rows[:100]``.
        is_image: whether an event is ``(channels, height, width)``.
        labels: int64 ``(n,)`` or None.
        n_classes: by default there is one class for each different label, and the labels are 0 to
            ``n_classes - 1``; a part of a data set has the classes of the whole.
        changes: what was changed in the values of a file, or passed over in a folder, in words.
        class_names: the names of the classes in the order of their labels, if they have any.

    Raises:
        ValueError: there are not as many labels as rows; a class has no data, and cannot be learnt;
            a label lies outside the classes.
    """

    name: str
    rows: Rows
    is_image: bool
    labels: Tensor | None = None
    n_classes: int | None = None
    changes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.labels is None:
            return
        if self.labels.dtype != torch.int64 or self.labels.shape != self.rows.shape[:1]:
            raise ValueError(
                f"labels: expected int64 of shape ({len(self.rows)},), got {self.labels.dtype} of "
                f"shape {tuple(self.labels.shape)}"
            )
        classes = self.labels.unique()
        if self.n_classes is None:
            if not torch.equal(classes, torch.arange(len(classes))):
                raise ValueError(
                    f"data: expected labels 0 to K - 1 in {self.name}, each at least once, as a "
                    f"class without data cannot be learnt, got {len(classes)} different from "
                    f"{classes[0]} to {classes[-1]}"
                )
            object.__setattr__(self, "n_classes", len(classes))
        elif len(classes) and not 0 <= classes[0] <= classes[-1] < self.n_classes:
            raise ValueError(
                f"labels: expected 0 to {self.n_classes - 1}, got {classes[0]} to {classes[-1]}"
            )

    @property
    def x(self) -> Tensor:
        """All rows as one tensor, float32 ``(n, *event)``. It is a copy if they are stored in
        another form."""
        return self.rows[:]

    @property
    def kind(self) -> str:
        """The kind of the data, by which a run chooses options; see :func:`kind_of`."""
        return kind_of(self.event_shape, is_image=self.is_image)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.rows.shape[1:])

    def digest(self) -> str:
        """Returns the SHA-256 of all values and labels, which identifies the data of a run."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for piece in pieces(self.rows):
            digest.update(piece.flatten().numpy().data)
        if self.labels is not None:
            digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()

    def split(self, holdout: float, *, seed: int) -> tuple[Dataset, Dataset]:
        """Returns rows to train on, and ``int(holdout * n)`` other rows to evaluate on. Both are in
        the order of a permutation that depends only on ``seed`` and n, so the first rows of either
        are as good a choice as any.

        Raises:
            TypeError: holdout is no number, or seed no integer.
            ValueError: not 0 <= holdout < 1.
        """
        holdout, seed = as_float(holdout, "holdout"), as_int(seed, "seed")
        if not 0 <= holdout < 1:
            raise ValueError(f"holdout: expected 0 <= holdout < 1, got {holdout}")
        rows = torch.randperm(len(self.rows), generator=generator_for("holdout", seed))
        kept = int(holdout * len(self.rows))
        return self._take(rows[kept:]), self._take(rows[:kept])

    def examples(self, n: int, *, seed: int) -> Dataset:
        """Returns ``n`` rows, or all if there are fewer, in a random order that depends only on
        ``seed`` and the number of rows: the first rows of a file may all be of one class."""
        order = torch.randperm(len(self.rows), generator=generator_for("examples", seed))
        return self._take(order[:n])

    def classes(self) -> str:
        """Returns how many classes there are, with their first names, in words."""
        more = ", ..." * (len(self.class_names) > _NAMED)
        names = ", ".join(self.class_names[:_NAMED]) + more
        return f"{self.n_classes} classes{': ' * bool(names)}{names}"

    def _take(self, rows: Tensor) -> Dataset:
        labels = None if self.labels is None else self.labels[rows]
        stored = StoredRows(self.rows) if isinstance(self.rows, Tensor) else self.rows
        return dataclasses.replace(self, rows=stored.select(rows), labels=labels)


def digits() -> Dataset:
    """Returns 1797 handwritten digits of 8 x 8 pixels, bundled with scikit-learn, in [-1, 1]."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = torch.from_numpy(bunch.images.astype(np.float32) / 8.0 - 1.0)[:, None]
    return Dataset("digits", x, is_image=True, labels=torch.from_numpy(bunch.target).long())


_TOY_SAMPLES = 10_000


def load(
    source: str,
    *,
    seed: int = 0,
    labels: bool = False,
    resize: str | None = None,
    background: str = "white",
) -> Dataset:
    """Loads a data set by name (``digits``, or one of the toys in ``TOYS``) or from a file.

    ``mnist:FOLDER``, ``fashion-mnist:FOLDER``, ``cifar10:FOLDER`` and ``images:FOLDER`` read local
    files (see :mod:`effebm_ext.runs.data.image_files`). Their pixels, from 0 to 255 or 65535, are
    scaled to [-1, 1].

    A ``.npy`` file holds one array ``(n, *event)``, a ``.npz`` file one array, or one named ``x``.
    Events of three axes whose first is 1 or 3 are taken for images, all others for vectors. Pixels
    of type uint8, and integers that look like them, are scaled to [-1, 1], and channels on the last
    axis are moved to the first (:func:`effebm_ext.runs.data.array_files.read_arrays`). Other values
    are used as they are: scale them to a standard deviation of about one. A large ``.npy`` file is
    read as its rows are needed, so it must stay as it is.

    ``changes`` of the result says what was changed. Whatever the format, labels are 0 to K - 1 and
    each of them occurs.

    Args:
        source: the name, with a folder where it needs one, or the path of a .npy or .npz file; a
            leading ``~`` is the home folder.
        seed: any integer, for the toy data sets, which are drawn anew.
        labels: read the labels too: in a ``.npz`` file the array named ``y``, integers ``(n,)``;
            for images the sub-folders that they lie in. Digits and toys always have labels.
        resize: for ``images:FOLDER``, the height and width that all images are brought to, ``H`` or
            ``HxW``; None: they must have one size.
        background: for ``images:FOLDER``, what transparent pixels show, ``white`` or ``black``.

    Raises:
        FileNotFoundError: there is no such file, or the folder lacks one.
        TypeError: seed is no integer.
        ValueError: the source is not a known name or a readable file; an array has fewer than two
            axes, no rows, no numbers, or values that are not finite, or is one picture or pixels
            with transparency; there are no labels, or not the labels described; resize is no size,
            or is given for other data; background is no such name.

    Warns:
        UserWarning: the standard deviation of a file's values lies outside 0.2 to 5, or values
            with several axes lie in 0 to 1, where they were not scaled; scaled pixels use less than
            a sixteenth of their range; or events with several axes are not images.
    """
    seed = as_int(seed, "seed")
    size = None if resize is None else parse_size(resize)
    if background not in BACKGROUNDS:
        raise ValueError(f"background: expected {', '.join(BACKGROUNDS)}, got {background!r}")
    source = absolute(source)
    kind, _, folder = source.partition(":")
    if size is not None and kind != "images":
        meant = Path(os.path.expanduser(source)).is_dir()
        written = f": a folder of images is written images:{source}" if meant else ""
        raise ValueError(
            f"resize: expected none with {source}, as only images:FOLDER is resized{written}"
        )
    if source == "digits":
        return digits()
    if source in TOYS:
        points, modes = TOYS[source](_TOY_SAMPLES, np.random.default_rng(seed % 2**64))
        x = torch.from_numpy(points.astype(np.float32))
        return Dataset(source, x, is_image=False, labels=torch.from_numpy(modes).long())
    if folder and kind in image_files.READERS:
        options = {"size": size, "background": background} if kind == "images" else {}
        found = image_files.READERS[kind](Path(folder), labels=labels, **options)
        y = None if found.labels is None else torch.from_numpy(found.labels)
        rows, of_classes, is_scaled = _scaled(found.pixels), found.class_names, True
        dataset = Dataset(kind, rows, True, y, changes=found.changes, class_names=of_classes)
    elif Path(source).suffix in (".npy", ".npz"):
        rows, y, changes, is_scaled = read_arrays(Path(source), labels=labels)
        is_image = len(rows.shape) == 4 and rows.shape[1] in (1, 3)
        dataset = Dataset(Path(source).stem, rows, is_image, y, changes=changes)
    else:
        names, prefixes = ["digits", *TOYS], list(image_files.READERS)
        known = ", ".join([*names, *(f"{prefix}:FOLDER" for prefix in prefixes)])
        raise ValueError(
            f"data: expected {known}, or a .npy or .npz file, got {source!r}"
            f"{advice(source, names, prefixes)}"
        )
    archive = source.endswith(".npz")
    is_image = dataset.is_image
    for doubt in doubts(rows, is_image=is_image, is_scaled=is_scaled, in_archive=archive):
        warnings.warn(f"data: {source}: {doubt}", stacklevel=2)
    return dataset


def _scaled(values: np.ndarray) -> Rows:
    if values.dtype == np.uint8:
        return pixels(torch.from_numpy(np.require(values, requirements="W")))
    x = values.astype(np.float32)
    x /= np.iinfo(values.dtype).max / 2
    x -= 1
    return torch.from_numpy(x)
