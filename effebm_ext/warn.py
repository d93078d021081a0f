"""Warnings at the line of the caller's code that they are about."""

from __future__ import annotations

import sys
import warnings

_PACKAGE = __name__.partition(".")[0]


def warn(message: str) -> None:
    """A RuntimeWarning at the innermost line outside this package and its context managers."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_own(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, RuntimeWarning, stacklevel=level)


def _is_own(module: str) -> bool:
    return module.partition(".")[0] in (_PACKAGE, "contextlib")
