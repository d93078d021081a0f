"""Block offsets on the device: an assertion fails where they would lead out of a row."""

from __future__ import annotations

import pytest
import torch
from library import THREADS, Blocks, Device, compiled
from ptx_simulator import launch

DIM = 1030


def check(offsets: list[int]) -> None:
    device = Device(offsets=torch.tensor(offsets))
    device.protect("offsets")
    blocks = Blocks(DIM, 1, device.arrays["offsets"].ctypes.data, len(offsets) - 1)
    kernel = compiled("packing").find("check_offsets")
    launch(kernel, 2, THREADS, [blocks], buffers=device.arrays)


@pytest.mark.parametrize("offsets", [[0, DIM], [0, 1, 7, 1029, DIM], [*range(DIM), DIM]])
def test_offsets_that_rise_to_the_end_of_a_row_pass(offsets: list[int]) -> None:
    check(offsets)


@pytest.mark.parametrize(
    "offsets",
    [[1, DIM], [-1, DIM], [0, DIM + 1], [0, DIM - 1], [0, -5, DIM], [0, 7, 7, DIM], [0, 9, 7, DIM],
     [0, 10**8, DIM], [*range(DIM - 1), DIM, DIM]],
)  # fmt: skip
def test_others_fail_an_assertion(offsets: list[int]) -> None:
    with pytest.raises(RuntimeError, match="a device assertion failed"):
        check(offsets)
