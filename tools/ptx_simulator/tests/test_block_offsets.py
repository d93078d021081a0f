"""Block offsets on the device: an assertion fails where they would lead out of a row."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from calls import values
from device import Launch, on_device, ptx_device

import effebm_ext as eff

DIM = 1030


def checked(n_blocks: int) -> tuple[Launch, torch.Tensor]:
    """Returns the launch that checks offsets of so many blocks, which has not run, and the
    offsets."""
    offsets = on_device(torch.tensor([*range(n_blocks), DIM]))
    with mock.patch.object(Launch, "run"), ptx_device(most_blocks=2) as device:
        x, code = on_device(values(1, DIM, torch.float32)), eff.BlockSign.code
        torch.ops.effebm.compress(x, code, 1, offsets)
    return next(one for one in device.launches if one.function == "check_offsets"), offsets


@pytest.mark.parametrize("offsets", [[0, DIM], [0, 1, 7, 1029, DIM], [*range(DIM), DIM]])
def test_offsets_that_rise_to_the_end_of_a_row_pass(offsets: list[int]) -> None:
    launch, there = checked(len(offsets) - 1)
    there.copy_(torch.tensor(offsets))
    launch.run()


@pytest.mark.parametrize(
    "offsets",
    [[1, DIM], [-1, DIM], [0, DIM + 1], [0, DIM - 1], [0, -5, DIM], [0, 7, 7, DIM], [0, 9, 7, DIM],
     [0, 10**8, DIM], [*range(DIM - 1), DIM, DIM]],
)  # fmt: skip
def test_others_fail_an_assertion(offsets: list[int]) -> None:
    """They are written after the op, as the host checks offsets on the CPU itself."""
    launch, there = checked(len(offsets) - 1)
    there.copy_(torch.tensor(offsets))
    with pytest.raises(RuntimeError, match="a device assertion failed"):
        launch.run()
