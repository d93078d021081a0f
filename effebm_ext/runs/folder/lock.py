"""The lock of a run folder, which one process at a time trains in."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
import types
from pathlib import Path
from typing import Any

from effebm_ext.runs.atomic_files import create_text, left_behind, write_text

LOCK = "lock"
_PATIENCE = 1.0  # seconds in which a lock may get its content, on a file system without links


class FolderInUseError(RuntimeError):
    """Raised for a run folder in which another process trains."""


class RunLock:
    """Keeps other processes from training in a folder, as a context manager. The file ``lock``
    holds the host and the process. The lock of a process of this host that has ended is taken over,
    and its temporary files are removed.

    Args:
        folder: the folder of a run.

    Raises:
        FolderInUseError: another process holds the lock, on entering.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / LOCK

    def __enter__(self) -> RunLock:
        try:
            create_text(self._path, json.dumps(_this_process()))
        except FileExistsError:
            if not self._take_over():
                raise FolderInUseError(_in_use(self._folder, _owner(self._path))) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: types.TracebackType | None,
    ) -> None:
        self._path.unlink(missing_ok=True)

    def _take_over(self) -> bool:
        """Writes into the lock of a process that has ended, if it has. Of several that try, the
        first keeps the others out by a lock of the system on the file."""
        with (
            contextlib.suppress(FileNotFoundError, PermissionError),
            open(self._path, "r+") as file,
        ):
            with contextlib.suppress(OSError):  # a file system without such locks
                fcntl.flock(file, fcntl.LOCK_EX)
            owner = _owner(self._path)
            if self._path.stat().st_ino == os.fstat(file.fileno()).st_ino and _has_ended(owner):
                # A new file, so that a process that is killed here leaves one of the two owners.
                write_text(self._path, json.dumps(_this_process()))
                for folder in (self._folder, *filter(Path.is_dir, self._folder.iterdir())):
                    for path in left_behind(folder, owner["process"]):
                        path.unlink(missing_ok=True)
                return True
        return False


def check_unlocked(folder: Path) -> None:
    """Refuses a folder in which another process trains.

    Raises:
        FolderInUseError: another process holds the lock.
    """
    if (folder / LOCK).exists():
        owner = _owner(folder / LOCK)
        if not _has_ended(owner):
            raise FolderInUseError(_in_use(folder, owner))


def _in_use(folder: Path, owner: dict[str, Any]) -> str:
    who = f"process {owner['process']} on {owner['host']}" if owner else "another process"
    return (
        f"lock: {who} trains in {folder}; if no such process runs, remove {folder / LOCK} and "
        "try again"
    )


def _owner(path: Path) -> dict[str, Any]:
    """Returns the content of a lock; nothing if it is damaged or gone."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            owner = json.loads(path.read_text())
            return owner if {"host", "process", "began"} <= owner.keys() else {}
        except FileNotFoundError:
            return {}
        except (AttributeError, ValueError):
            if time.monotonic() >= until:
                return {}
            time.sleep(0.05)


def _this_process() -> dict[str, Any]:
    process = os.getpid()
    return {"host": socket.gethostname(), "process": process, "began": _began(process)}


def _has_ended(owner: dict[str, Any]) -> bool:
    """Returns whether the owner of a lock was a process of this host that is no more; that began at
    another time, if a new process has its number."""
    if not owner or owner["host"] != socket.gethostname():
        return False
    try:
        os.kill(owner["process"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is another user's
        return False
    return bool(_began(owner["process"]) != owner["began"])


def _began(process: int) -> str | None:
    """Returns when a process began, in the ticks of Linux; None where this cannot be known, and for
    a process that has ended and whose parent has not taken note yet."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else fields[19]
    except (OSError, IndexError):
        return None
