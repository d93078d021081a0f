"""A guess at what a word was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str], form: str = "{}") -> str:
    """Returns ``: did you mean X?`` with the known word that is most like the one that was given,
    put into ``form``, or an empty string if none is like it."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f": did you mean {form.format(near[0])}?" if near else ""
