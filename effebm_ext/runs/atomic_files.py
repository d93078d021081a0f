"""Files that have all of their old or all of their new content whenever the process ends."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What file systems without hard links answer.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class DiskFullError(OSError):
    """Raised for a file that has no room on its disk; its text names the file and the space."""


@contextlib.contextmanager
def replacing(path: Path, size: int | None = None) -> Iterator[Path]:
    """Yields the path of a temporary file with the same suffix, for the block to write. When the
    block ends it is put on the disk and takes the place of ``path``; after an error it is removed.

    Args:
        path: the file to write.
        size: how many bytes it will have, for an error to tell; None: this is not known.

    Raises:
        DiskFullError: as :func:`naming_a_full_disk`.
    """
    temporary = _temporary(path)
    try:
        with naming_a_full_disk(path, size):
            yield temporary
            _to_disk(temporary)
            os.replace(temporary, path)
            with contextlib.suppress(OSError):  # some file systems know no folder on disk
                _to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file by :func:`replacing`, which says what is raised. Bytes of file names that
    are no text are written as ``\\udcff``."""
    content = text.encode(errors="backslashreplace")
    with replacing(path, len(content)) as temporary:
        temporary.write_bytes(content)


def create_text(path: Path, text: str) -> None:
    """Makes a text file that has its content from the moment at which it exists.

    Raises:
        FileExistsError: there is such a file.
        DiskFullError: as :func:`naming_a_full_disk`.
    """
    content, temporary = text.encode(), _temporary(path)
    with naming_a_full_disk(path, len(content)):
        try:
            temporary.write_bytes(content)
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _create(path, content)
        finally:
            temporary.unlink(missing_ok=True)


def _create(path: Path, content: bytes) -> None:
    """Makes a file on a file system without links, or none if there is no room for it."""
    with open(path, "xb") as file:
        try:
            file.write(content)
            file.flush()
        except OSError:
            path.unlink(missing_ok=True)
            raise


def left_behind(folder: Path, process: int) -> list[Path]:
    """Returns the temporary files in ``folder`` of a process that was killed while it wrote."""
    return list(folder.glob(f"{_prefix(process)}*"))


@contextlib.contextmanager
def naming_a_full_disk(path: Path, size: int | None = None) -> Iterator[None]:
    """Writes of ``path`` inside the block that find the disk full say so.

    Raises:
        DiskFullError: the disk is full, or the user's share of it, or the file may not be as large.
    """
    try:
        yield
    except DiskFullError:
        raise
    except (OSError, RuntimeError) as error:
        if not _is_of_a_full_disk(error):
            raise
        wanted = "" if size is None else f", which needs {size / 1e6:.3g} MB"
        free = shutil.disk_usage(path.parent).free / 1e6
        raise DiskFullError(
            f"disk: there is no room for {path}{wanted}; its disk has {free:.3g} MB free"
        ) from error


def _is_of_a_full_disk(error: BaseException | None) -> bool:
    """Returns whether an error, or an error during which it arose, is that the disk is full:
    torch.save raises a RuntimeError of its own after it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary(path: Path) -> Path:
    token = uuid.uuid4().hex[:8]  # processes of several hosts may write into one folder
    return path.with_name(f"{_prefix(os.getpid())}{token}{path.suffix}")


def _prefix(process: int) -> str:
    return f".effebm-{process}-"
