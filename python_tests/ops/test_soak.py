"""A short form of soak.py, and that it notices what it looks for."""

import pytest
import torch
from soak import KINDS, MOMENTS, MOST_GROWTH, op, soak


@pytest.mark.parametrize("kind", KINDS)
def test_memory_stays_flat_over_many_steps(kind):
    torch.manual_seed(0)
    growth, moment = soak(KINDS[kind](), 4_000)
    assert growth < MOST_GROWTH
    assert MOMENTS[0] < moment < MOMENTS[1]


def test_a_soak_notices_what_every_step_leaves_behind():
    step, kept = op(), []

    def leaking():
        kept.append(bytearray(1000))
        return step()

    assert soak(leaking, 4_000).growth > MOST_GROWTH
