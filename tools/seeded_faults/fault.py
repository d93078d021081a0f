"""What a fault is."""

from __future__ import annotations

from typing import NamedTuple

SYNC = "  __syncthreads();"


class Fault(NamedTuple):
    """What is wrong, where, and what stands there instead of the text.

    ``file`` is below csrc/. ``occurrence`` counts from 0 where the text stands more than once.
    """

    name: str
    file: str
    text: str
    instead: str
    occurrence: int = 0
