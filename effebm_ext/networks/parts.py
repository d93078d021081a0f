"""What all networks share: the shape of an image, and the read-out with labels or without."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from effebm_ext.energies import class_energy


def image_shape(event_shape: Sequence[int], least_side: int = 1) -> tuple[int, int, int]:
    if len(event_shape) != 3:
        raise ValueError(
            f"event_shape: expected (channels, height, width), got {tuple(event_shape)}, which are "
            "points"
        )
    channels, height, width = event_shape
    if min(height, width) < least_side:
        raise ValueError(
            f"event_shape: expected sides of at least {least_side} pixels, got {tuple(event_shape)}"
        )
    return channels, height, width


def read_out(values: Tensor, y: Tensor | None, n_classes: int | None) -> Tensor:
    if n_classes is not None:
        return class_energy(values, y)
    if y is not None:
        raise ValueError("y: expected no labels, the energy was made without n_classes")
    return values.squeeze(1)
