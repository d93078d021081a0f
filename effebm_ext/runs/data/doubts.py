"""What looks wrong in the values and the axes of a file, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from effebm_ext.rows import Rows, pieces

# Of the range of pixels. It is that of 12 bits in 16; even pictures of low contrast use more.
_LEAST_SHARE = 1 / 16


def doubts(
    rows: Rows, *, is_image: bool, is_scaled: bool = False, in_archive: bool = False
) -> Iterator[str]:
    """Yields a sentence for everything that looks wrong in the data of a file.

    Args:
        rows: float32 ``(n, *event)``.
        is_image: whether an event is ``(channels, height, width)``.
        is_scaled: whether the rows are pixels that were scaled to [-1, 1] by their depth. They may
            be dark, bright or of low contrast, but should use their depth.
        in_archive: whether the file is a .npz file, which may hold labels too.
    """
    event = tuple(rows.shape[1:])
    low, high, std = float(rows.min()), float(rows.max()), float(rows.std(correction=0))
    is_off = high - low < 2 * _LEAST_SHARE if is_scaled else not 0.2 <= std <= 5
    if not is_scaled and len(event) > 1 and _in_zero_to_one(rows):
        yield "these look like pixels in 0 to 1: save 2 * x - 1, or the pixels as uint8"
    elif is_off:
        kept = "as .npz with its labels" if in_archive else "as .npy"
        how = _pixels(low, high, is_scaled) if len(event) > 1 else _columns(rows)
        yield (
            f"expected values of standard deviation about 1, got {std:.3g}: scale them ({how}) "
            f"and save them {kept}"
        )
    if len(event) > 1 and not is_image:
        yield f"events of shape {event} are taken for vectors; {_axes(event)}"


def _in_zero_to_one(rows: Rows) -> bool:
    """Returns whether all values lie in [0, 1], and some are neither 0 nor 1, as those of masks."""
    if float(rows.min()) < 0 or float(rows.max()) > 1:
        return False
    return any(bool(((piece > 0) & (piece < 1)).any()) for piece in pieces(rows))


def _pixels(low: float, high: float, is_scaled: bool) -> str:
    """Says how to scale pixels with this least and this greatest value."""
    top = next((top for top in (1, 255, 65535) if high <= top), None)
    if is_scaled or low < 0 or top is None:
        return "by (x - x.mean()) / x.std()"
    return f"pixels of 0 to {top} by x / {top / 2} - 1"


def _columns(rows: Rows) -> str:
    """Says how to scale the columns of ``(n, d)``, and how far their scales differ."""
    n = len(rows)
    mean = sum((piece.double().sum(0) for piece in pieces(rows)), torch.zeros(())) / n
    squares = ((piece.double() - mean).square().sum(0) for piece in pieces(rows))
    std = (sum(squares, torch.zeros(())) / n).sqrt()
    low, high = float(std.min()), float(std.max())
    constant = "" if low else ", without the columns that are constant"
    return (
        f"points by (x - x.mean(0)) / x.std(0){constant}; the standard deviations of their "
        f"columns are {low:.3g} to {high:.3g}"
    )


def _axes(event: Sequence[int]) -> str:
    if len(event) == 3 and event[-1] == 4:
        return "images have 1 or 3 channels: x[..., :3] drops the alpha channel"
    return (
        "images have the axes (channels, height, width) and 1 or 3 channels: x[:, None] adds an "
        "axis of channels, x.transpose(0, 3, 1, 2) moves the last axis to the first place"
    )
