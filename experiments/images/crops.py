"""Coloured images of 32 x 32 pixels, cut from the two photographs that scikit-learn brings.

python -m experiments.images.crops crops.npy
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from sklearn.datasets import load_sample_images

_SIDE = 32


def crops(n: int, *, seed: int = 0) -> np.ndarray:
    """Returns uint8 ``(n, 3, 32, 32)``: squares of 64 x 64 pixels from random places of both
    photographs, with the mean of every 2 x 2 pixels as one."""
    random = np.random.default_rng(seed)
    photographs = load_sample_images().images
    found = np.empty((n, 3, _SIDE, _SIDE), np.uint8)
    for image in found:
        photograph = photographs[random.integers(len(photographs))]
        y, x = (random.integers(side - 2 * _SIDE + 1) for side in photograph.shape[:2])
        square = photograph[y : y + 2 * _SIDE, x : x + 2 * _SIDE].astype(float)
        means = square.reshape(_SIDE, 2, _SIDE, 2, 3).mean((1, 3))
        image[:] = means.round().transpose(2, 0, 1)
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--n", type=click.IntRange(min=1), default=5000, help="number of images")
def main(out: Path, n: int) -> None:
    """Write the images into a .npy file."""
    np.save(out, crops(n))


if __name__ == "__main__":
    main()
