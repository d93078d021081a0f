"""Signals that end a run in good order."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import types
from collections.abc import Iterator
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_OUTPUT, _ERRORS = 1, 2  # the descriptors of the process
_NOTE = "\neffebm: stopping after this iteration; a second signal ends the run at once\n"


class Stopped(KeyboardInterrupt):
    """Raised where a signal ends a run. ``status`` is the exit status that tells of it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.status = 128 + number


class Stopping:
    """Handles SIGINT, SIGTERM, SIGHUP and SIGUSR1 while it is entered as a context manager, except
    those that are ignored, and any outside the main thread. They raise :class:`Stopped`, but within
    :meth:`deferred` the first of them waits."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._waits = False
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._number is not None

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # as nohup ignores one
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: types.TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Lets the first signal inside the block only set :attr:`asked`.

        Raises:
            Stopped: at the end of the block if a signal came; at once if a second one comes.
        """
        self._waits = True
        try:
            yield
        finally:
            self._waits = False
        if self._number is not None:
            raise Stopped(self._number)

    def _handle(self, number: int, _: types.FrameType | None) -> None:
        again, self._number = self.asked, number
        if again or not self._waits:
            raise Stopped(number)
        try:
            os.write(_ERRORS, _NOTE.encode())
        except OSError:
            leave_terminal()


def leave_terminal() -> None:
    """Lets what the process prints from now on go nowhere: its terminal is gone, and nothing else
    shall fail because of it."""
    gone = [_ERRORS, *[_OUTPUT] * os.path.sameopenfile(_OUTPUT, _ERRORS)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in gone:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
