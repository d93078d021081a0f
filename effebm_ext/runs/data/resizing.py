"""Bringing images to one size."""

from __future__ import annotations

import re

import numpy as np


def parse_size(text: str) -> tuple[int, int]:
    """Returns the height and the width that ``H`` or ``HxW`` names.

    Raises:
        ValueError: the text has another form, or a side is 0.
    """
    if not re.fullmatch(r"\d{1,5}(x\d{1,5})?", text, re.ASCII):
        raise ValueError(f"resize: expected H or HxW pixels, such as 32 or 48x64, got {text!r}")
    height, _, width = text.partition("x")
    size = int(height), int(width or height)
    if 0 in size:
        raise ValueError(f"resize: expected sides of at least 1 pixel, got {text!r}")
    return size


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns an image of this height and width: the largest middle part of its shape, resized by
    Pillow's Lanczos filter. An image that has the size stays as it is.

    Args:
        pixels: uint8 or uint16 ``(height, width)``, or uint8 ``(height, width, 3)``.
        size: height and width.
    """
    from PIL import Image, ImageOps

    if pixels.shape[:2] == size:
        return pixels
    deep = pixels.dtype == np.uint16
    # Pillow does not resize 16 bits in every version, but floating point it does.
    image = Image.fromarray(pixels.astype(np.float32) if deep else pixels)
    image = ImageOps.fit(image, size[::-1], Image.Resampling.LANCZOS)
    found = np.asarray(image)
    return found.round().clip(0, 65535).astype(np.uint16) if deep else found
