"""Errors of data that are no longer where a run or a file of options says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def naming_a_move(*, is_given: bool) -> Iterator[None]:
    """Lets the error of a file that is missing say how to name another place, unless the place
    itself is given on the command line."""
    try:
        yield
    except FileNotFoundError as error:
        if is_given:
            raise
        message = f"{error}; if the data have moved, say where to with --data"
        raise FileNotFoundError(message) from error
