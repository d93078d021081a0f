"""uniforms: a random number for each chain."""

import math

import pytest
import torch
from helpers import assert_same_bits

import effebm_ext as eff
from effebm_ext.ops.uniforms import uniforms, uniforms_reference
from effebm_ext.rng import ACCEPTANCE, RESAMPLING

CPU = torch.empty(0)


@pytest.mark.parametrize("purpose", [ACCEPTANCE, RESAMPLING])
@pytest.mark.parametrize("n", [0, 1, 2, 300])
@pytest.mark.parametrize(
    "key",
    [eff.Key(1), eff.Key(-1, 2**40 + 5, 7), eff.Key(2**64 - 1, 2**56 - 1, 2**32 - 300)],
    ids=str,
)
def test_every_number_equals_the_reference(device, key, n, purpose):
    got = uniforms(key, n, purpose, like=torch.empty(0, device=device))
    assert got.device == device
    assert_same_bits(got.cpu(), uniforms_reference(key, n, purpose))


def test_known_numbers():
    # by another implementation of Philox, in Python's integers
    found = uniforms(eff.Key(-1, 2**40 + 5, 7), 2, ACCEPTANCE, like=CPU).tolist()
    assert [value.hex() for value in found] == ["0x1.0473af259491cp-3", "0x1.143e4c05c8baep-2"]


def test_they_are_uniform_and_streams_differ():
    u = uniforms(eff.Key(1), 100_000, ACCEPTANCE, like=CPU)
    assert u.dtype == torch.float64
    assert float(u.min()) > 0
    assert float(u.max()) < 1
    assert float(u.mean()) == pytest.approx(0.5, abs=4 / math.sqrt(12 * len(u)))
    assert float(u.var()) == pytest.approx(1 / 12, abs=4 / math.sqrt(180 * len(u)))
    for other in (eff.Key(2), eff.Key(1, 1), eff.Key(1, 2**40)):
        assert not torch.equal(u, uniforms(other, len(u), ACCEPTANCE, like=CPU))
    assert not torch.equal(u, uniforms(eff.Key(1), len(u), RESAMPLING, like=CPU))


def test_a_part_of_the_chains_has_the_numbers_of_the_whole():
    u = uniforms(eff.Key(1), 1000, ACCEPTANCE, like=CPU)
    part = uniforms(eff.Key(1, first_chain=500), 100, ACCEPTANCE, like=CPU)
    assert torch.equal(u[500:600], part)


def test_chains_past_the_last_are_refused():
    with pytest.raises(ValueError, match=r"rng: expected chains below 2\*\*32"):
        uniforms(eff.Key(0, 0, 2**32 - 2), 3, ACCEPTANCE, like=CPU)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(2), 0, 0, 1, 2), r"key: expected int64\[2\]"),
        ((torch.zeros(3, dtype=torch.int64), 0, 0, 1, 2), r"key: expected int64\[2\]"),
        ((torch.zeros(2, dtype=torch.int64), 0, 2**32 - 1, 2, 2), r"first_chain: expected chains"),
        ((torch.zeros(2, dtype=torch.int64), 0, -1, 2, 2), r"first_chain: expected chains"),
        ((torch.zeros(2, dtype=torch.int64), 0, 0, -1, 2), r"n: expected at least 0, got -1"),
        ((torch.zeros(2, dtype=torch.int64), 0, 0, 1, 256), r"purpose: expected 0 to 255, got 256"),
    ],
)
def test_what_the_raw_op_refuses(arguments, message):
    with pytest.raises(RuntimeError, match=message):
        torch.ops.effebm.uniforms(*arguments)


def test_the_op_follows_the_rules_of_torch():
    key = torch.tensor([3, 0])
    torch.library.opcheck(torch.ops.effebm.uniforms.default, (key, 5, 7, 11, ACCEPTANCE))


def test_a_compiled_function_draws_the_same_numbers():
    @torch.compile(fullgraph=True, backend="aot_eager")
    def draw(like):
        return uniforms(eff.Key(5, 2), 9, ACCEPTANCE, like=like)

    assert torch.equal(draw(CPU), uniforms_reference(eff.Key(5, 2), 9, ACCEPTANCE))
