"""Checkpoints: written whole or not at all, read without executing anything."""

from __future__ import annotations

import errno
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from effebm_ext.runs.atomic_files import replacing

CHECKPOINT, BEST = "checkpoint.pt", "best.pt"  # in the folder of a run
_FORMAT = "effebm_ext checkpoint"
_VERSION = 1
_FOLDER = 0x10  # among the external attributes of a zip entry
_END_RECORD, _END_RECORD_SIZE = b"PK\x05\x06", 22  # a zip archive without a comment


class CheckpointError(ValueError):
    """Raised for a file that is not a checkpoint of this library, or not a whole one."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Writes ``content`` (tensors, numbers, strings, lists, dicts) to ``path`` atomically.

    The file appears under its name only when all of it is on disk; an older file stays until then.

    Raises:
        effebm_ext.runs.atomic_files.DiskFullError: there is no room for the file.
    """
    payload = {"format": _FORMAT, "version": _VERSION, **content}
    with_checksums = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(True)  # load() checks them
    try:
        with replacing(path, _size(payload)) as temporary, open(temporary, "wb") as file:
            torch.save(payload, file)
    finally:
        torch.serialization.set_crc32_options(with_checksums)


def load(path: Path) -> dict[str, Any]:
    """Returns the content of a checkpoint, on the CPU. The file is read twice, first for its
    checksums.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is truncated, damaged, foreign, or of another version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: no such file: {path}")
    try:
        damaged = _damaged_part(path)
        content = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zipfile, torch and its unpicklers raise a dozen kinds
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise  # the disk failed; a wild offset in the file gives EINVAL instead
        raise CheckpointError(f"checkpoint: {path} is truncated or not a checkpoint") from error
    if damaged:
        raise CheckpointError(f"checkpoint: {path} is damaged: {damaged}")
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise CheckpointError(f"checkpoint: {path} was not written by effebm_ext")
    if content.get("version") != _VERSION:
        raise CheckpointError(
            f"checkpoint: expected version {_VERSION} in {path}, got {content.get('version')}"
        )
    return content


def check_finite(path: Path, energy: nn.Module) -> None:
    """Refuses a checkpoint whose energy cannot be used. A buffer may hold anything, such as the
    infinities of a mask.

    Raises:
        CheckpointError: a parameter of ``energy``, read from ``path``, is not finite.
    """
    for name, value in energy.named_parameters():
        if not bool(value.isfinite().all()):
            raise CheckpointError(f"checkpoint: {path} has values in {name} that are not finite")


def _damaged_part(path: Path) -> str | None:
    """Says in words what differs from what :func:`save` wrote, or returns None. torch.load checks
    no checksum, and takes uninitialised memory for a part that is marked as a folder.

    Raises:
        zipfile.BadZipFile and others: this is no zip archive.
    """
    with zipfile.ZipFile(path) as archive:
        part = archive.testzip()
        marked = [info.filename for info in archive.infolist() if info.external_attr & _FOLDER]
    if part is not None or marked:
        return f"its part {part or marked[0]!r} is not as it was written"
    with open(path, "rb") as file:
        file.seek(-_END_RECORD_SIZE, os.SEEK_END)
        if file.read(len(_END_RECORD)) != _END_RECORD:
            return "something was appended to it"
    return None


def _size(content: Any) -> int:
    """Returns the bytes of all tensors in ``content``."""
    if isinstance(content, Tensor):
        return content.nbytes
    if isinstance(content, Mapping):
        content = list(content.values())
    return sum(map(_size, content)) if isinstance(content, (list, tuple)) else 0
