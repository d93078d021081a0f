"""Sources of data as they are written: their paths, and what one without a known form meant."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from effebm_ext.runs.data import image_files
from effebm_ext.runs.did_you_mean import did_you_mean

# How files that are no arrays become arrays.
_CONVERSIONS = {
    ".csv": 'numpy.save("x.npy", numpy.loadtxt("{}", delimiter=",", skiprows=1))',
    ".tsv": 'numpy.save("x.npy", numpy.loadtxt("{}", delimiter="\\t", skiprows=1))',
    ".txt": 'numpy.save("x.npy", numpy.loadtxt("{}"))',
    ".pt": 'numpy.save("x.npy", torch.load("{}").numpy())',
}
_FOLDERS = {  # names of files that tell what a folder holds, and else it holds images
    "mnist": ("*idx3-ubyte*", "raw/*idx3-ubyte*", "*/raw/*idx3-ubyte*"),
    "cifar10": ("data_batch_1*", "cifar-10-batches-*/data_batch_1*"),
}


def absolute(source: str) -> str:
    """Returns the source with an absolute path, which means the same in every folder, and with the
    home folder in the place of ``~``. Other sources stay as they are."""
    kind, _, folder = source.partition(":")
    if folder and kind in image_files.READERS:
        return f"{kind}:{os.path.abspath(os.path.expanduser(folder))}"
    if source.endswith((".npy", ".npz")):
        return os.path.abspath(os.path.expanduser(source))
    return source


def advice(source: str, names: Sequence[str], prefixes: Sequence[str]) -> str:
    """Returns what to do about a source that is neither a name nor a file of arrays, as the end of
    a sentence; an empty string if nothing is known.

    Args:
        source: what was given.
        names: the names of data sets.
        prefixes: the kinds of folders, which are written ``prefix:FOLDER``.
    """
    kind, colon, folder = source.partition(":")
    path = Path(os.path.expanduser(source))
    if path.is_dir():
        return f": did you mean {prefix_of(path)}:{source}?"
    if path.suffix.lower() in _CONVERSIONS:
        return f": convert it by {_CONVERSIONS[path.suffix.lower()].format(source)}"
    if path.is_file():
        return ": a folder of images is written images:FOLDER"
    if kind in prefixes:
        return f": expected a folder after {kind}:"
    if colon:
        return did_you_mean(kind, prefixes, f"{{}}:{folder}")
    return did_you_mean(source, names)


def prefix_of(folder: Path) -> str:
    """Returns the kind of data that a folder seems to hold."""
    for prefix, patterns in _FOLDERS.items():
        if any(next(folder.glob(pattern), None) for pattern in patterns):
            return prefix
    return "images"
