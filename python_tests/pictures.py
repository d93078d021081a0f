"""Small pictures of random pixels, and what these are as data."""

import numpy as np
import torch

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (6, 5)).astype(np.uint16)


def scaled(pixels):
    return torch.from_numpy(pixels.astype(np.float32) / (np.iinfo(pixels.dtype).max / 2) - 1)


def planes(colour):
    return np.ascontiguousarray(colour.transpose(2, 0, 1))
