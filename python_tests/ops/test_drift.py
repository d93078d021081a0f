"""drift: the reverse half of a transition, and what Metropolis needs of both."""

import math

import pytest
import torch
from helpers import DTYPES, INF, NAN, assert_same_bits, normal

import effebm_ext as eff
from effebm_ext.ops.checks import compute_dtype
from effebm_ext.reference import canonical_sum

BY_OFFSETS = eff.BlockSign(block_offsets=[0, 1, 10])
COMPRESSORS = [None, eff.TopK(3), eff.BlockSign(4), BY_OFFSETS, torch.tanh]


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("clip", [None, eff.ClipValue(1.0), eff.ClipNorm(2.0)])
@pytest.mark.parametrize("step_size", [0.02, 0.7])
def test_the_sums_give_the_ratio_of_proposal_densities(device, compressor, clip, step_size):
    def grad(x):
        return x**3 - x.roll(1, -1)

    x = normal(6, 2, 5, dtype=torch.float64, device=device)
    options = {"compressor": compressor, "clip": clip}
    t = eff.langevin_transition(x, grad(x), step_size, rng=eff.Key(5), **options)
    back = eff.drift(grad(t.x), delta=t.x - x, **options)
    h = step_size / 2
    claimed = (t.drift_dot_delta + back.drift_dot_delta) / 2 + h / 4 * (t.drift_sq - back.drift_sq)

    def log_density(at, of, drift):
        std = math.sqrt(step_size)
        law = torch.distributions.Normal(of - h * drift, std)
        return law.log_prob(at).flatten(1).sum(1)

    direct = log_density(x, t.x, back.drift) - log_density(t.x, x, t.drift)
    assert direct.abs().max() > 1e-3
    torch.testing.assert_close(claimed, direct, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_without_a_displacement_there_is_no_product(device, dtype, compressor):
    grad = normal(3, 2, 5, dtype=dtype, device=device)
    grad[0, 0, 0] = NAN
    grad[1, 0, 0] = INF
    got = eff.drift(grad, compressor=compressor)
    assert_same_bits(got.drift_dot_delta, torch.zeros(3, dtype=compute_dtype(dtype)))
    zeros = torch.zeros_like(grad, dtype=compute_dtype(dtype))
    given = eff.drift(grad[2:], compressor=compressor, delta=zeros[2:])
    for one, other in zip(got, given, strict=True):
        assert_same_bits(one[2:], other)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_displacement_may_have_any_strides(device, dtype):
    grad = normal(5, 1025, dtype=dtype, device=device)
    delta = normal(1025, 5, seed=1, dtype=compute_dtype(dtype), device=device).t()
    got = eff.drift(grad, compressor=eff.BlockSign(64), delta=delta)
    assert_same_bits(got.drift_dot_delta, canonical_sum((got.drift * delta).cpu()))
    again = eff.drift(grad, compressor=eff.BlockSign(64), delta=delta.contiguous())
    assert_same_bits(again.drift_dot_delta, got.drift_dot_delta)


def test_products_that_are_all_negative_zero_sum_to_zero(device):
    grad, delta = (torch.full((2, 5), v, device=device) for v in (-1.0, 0.0))
    got = eff.drift(grad, delta=delta)
    assert_same_bits(got.drift_dot_delta, torch.zeros(2))


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_the_drift_is_no_view_of_the_gradient(device, compressor):
    grad = normal(3, 10, device=device)
    before = grad.clone()
    got = eff.drift(grad, compressor=compressor)
    got.drift.zero_()
    assert_same_bits(grad, before)
