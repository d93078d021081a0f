"""Checkpoints: written whole or not at all, read without executing anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

_FORMAT = "effebm_ext checkpoint"
_VERSION = 1


class CheckpointError(ValueError):
    """A file that is not a checkpoint of this library, or not a whole one."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Writes ``content`` (tensors, numbers, strings, lists, dicts) to ``path`` atomically.

    The file appears under its name only when all of it is on disk; an older one stays until then.
    """
    payload = {"format": _FORMAT, "version": _VERSION, **content}
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            torch.save(payload, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is truncated, foreign, or of another version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: no such file: {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch and its unpicklers raise a dozen kinds
        raise CheckpointError(f"checkpoint: {path} is truncated or not a checkpoint") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise CheckpointError(f"checkpoint: {path} was not written by effebm_ext")
    if content.get("version") != _VERSION:
        raise CheckpointError(
            f"checkpoint: expected version {_VERSION} in {path}, got {content.get('version')}"
        )
    return content
