"""Finding and reading the files of data sets."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_LISTED = 12


class Images(NamedTuple):
    """Images as files hold them.

    Attributes:
        pixels: uint8 or uint16 ``(n, channels, height, width)``.
        labels: int64 ``(n,)``, or None if they were not asked for.
        changes: what was changed in the pixels, and what was passed over, in words.
        class_names: the names of the classes in the order of their labels, if they have any.
    """

    pixels: np.ndarray
    labels: np.ndarray | None
    changes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()


def check_folder(folder: Path) -> None:
    """Checks that there is such a folder.

    Raises:
        FileNotFoundError: there is none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"data: no such folder: {folder}")


def find(folder: Path, names: Sequence[str], below: Sequence[str] = ()) -> Path:
    """Finds the file with the first name that is there, in the folder or else in a folder below it.

    Args:
        folder: where to look first.
        names: names of files; ``*`` stands for any characters.
        below: paths of the folders below it.

    Raises:
        FileNotFoundError: there is no such folder, or no such file; the message lists what there
            is.
        ValueError: a name with ``*`` is that of several files.
    """
    check_folder(folder)
    for place in (folder, *(folder / path for path in below)):
        for name in names:
            found = sorted(path for path in place.glob(name) if path.is_file())
            if len(found) > 1:
                several = ", ".join(path.name for path in found)
                raise ValueError(f"data: expected one {name} in {place}, got {several}")
            if found:
                return found[0]
    places = " or below it in ".join([str(folder), " or ".join(below)] if below else [str(folder)])
    raise FileNotFoundError(
        f"data: expected {' or '.join(names)} in {places}, got {listing(folder)}"
    )


def listing(folder: Path) -> str:
    """Returns the names in a folder, or the first of them, in words."""
    there = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return ", ".join(there[:_LISTED]) + ", ..." * (len(there) > _LISTED) or "an empty folder"


def read(path: Path) -> bytes:
    """Returns the content of a file, uncompressed if its name ends in .gz.

    Raises:
        ValueError: it is not a whole gzip file.
    """
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"data: {path} is not a whole gzip file: {error}") from error
