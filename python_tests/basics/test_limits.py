"""Clips and bounds as objects: their bits, their derivatives, and a pair of bounds as a Clamp."""

import pytest
import torch
from helpers import DTYPES, INF, NAN, assert_same_bits, named, normal
from torch.autograd import gradcheck

import effebm_ext as eff
from effebm_ext.limits import as_bounds
from effebm_ext.ops.checks import compute_dtype

KEY = eff.Key(3, offset=7, first_chain=2)
CLIPS = [eff.ClipValue(0.7), eff.ClipNorm(2.5)]
# 0.7 is no number of 16 bits, 1e30 is beyond float16.
PAIRS = [(-1.0, 0.7), (0.0, 0.0), (-INF, 0.3), (-0.3, INF), (-1e30, 1e30)]
KINDS = [eff.Clamp, eff.Reflect]


def points(*shape, seed=1):
    return normal(*shape, seed=seed, dtype=torch.float64)


STEPS = {
    "in place": lambda x, grad, **options: eff.langevin_step_(x.clone(), grad, 0.4, **options),
    "new": lambda x, grad, **options: eff.langevin_step(x, grad, 0.4, **options),
    "transition": lambda x, grad, **options: eff.langevin_transition(x, grad, 0.4, **options).x,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("compressor", [None, eff.TopK(3), torch.tanh], ids=named)
def test_a_clamp_has_the_bits_of_its_pair(device, dtype, pair, step, compressor):
    x, grad = (normal(3, 2, 5, seed=seed, dtype=dtype, device=device) for seed in (0, 1))
    options = {"compressor": compressor, "rng": KEY}
    want = step(x, grad, bounds=pair, **options)
    assert_same_bits(step(x, grad, bounds=eff.Clamp(*pair), **options), want)
    assert_same_bits(step(x, grad, bounds=list(pair), **options), want)
    assert not torch.equal(want, step(x, grad, **options)) or abs(pair[0]) == 1e30


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_apply_as_the_step_does(device, dtype, pair, kind):
    x = 2 * normal(4, 9, dtype=dtype, device=device)
    x[0, :3] = torch.tensor([NAN, INF, -INF])
    still = {"step_size": 0.0, "noise_std": 0.0, "rng": KEY}
    bounds = kind(*pair)
    want = eff.langevin_step(x, torch.zeros_like(x), bounds=bounds, **still)
    assert_same_bits(bounds.apply(x), want)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_are_rounded_as_the_state_is(device, dtype, kind):
    x = torch.linspace(0.5, 0.9, 401, device=device)[None]
    bounds, rounded = kind(-0.3, 0.7), kind(*torch.tensor([-0.3, 0.7]).to(dtype).tolist())
    assert_same_bits(bounds.apply(x, dtype), rounded.apply(x))
    assert not torch.equal(bounds.apply(x), rounded.apply(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("clip", CLIPS, ids=named)
@pytest.mark.parametrize("shape", [(5, 2, 9), (3, 2500), (4,), (3, 0)], ids=str)
def test_clips_apply_as_the_drift_does(device, dtype, clip, shape):
    grad = normal(*shape, dtype=dtype, device=device)
    if grad.numel() > 0:
        rows = grad.view(len(grad), -1)
        rows[0], rows[1, 0], rows[2] = 0, NAN, 3e38
    want = eff.drift(grad, clip=clip).drift
    assert_same_bits(clip.apply(grad.to(compute_dtype(dtype))), want)


@pytest.mark.parametrize("pair", PAIRS[:4], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_derivative_of_bounds_is_that_of_autograd(pair, kind):
    x, v = 2 * points(6, 7), points(6, 7, seed=2)
    x.requires_grad_()
    bounds = kind(*pair)
    bounded = bounds.apply(x)
    (want,) = torch.autograd.grad(bounded, x, v)
    assert torch.equal(bounds.vjp(x.detach(), v), want)
    assert not torch.equal(want, v)


@pytest.mark.parametrize("limit", [*CLIPS, *(kind(-0.4, 0.7) for kind in KINDS)], ids=named)
def test_derivatives_against_finite_differences(limit):
    x, along, v = points(6, 7), points(6, 7, seed=2), points(6, 7, seed=3)
    h = 1e-6
    slope = (limit.apply(x + h * along) - limit.apply(x - h * along)) / (2 * h)
    want = (v * slope).sum()
    torch.testing.assert_close((limit.vjp(x, v) * along).sum(), want, rtol=1e-6, atol=1e-6)
    assert (limit.apply(x) != x).any()


def test_a_step_bounded_by_a_clamp_has_derivatives():
    leaves = [points(3, 11, seed=seed).requires_grad_() for seed in (1, 2)]
    bounds = eff.Clamp(-0.9, 0.8)
    assert gradcheck(lambda x, g: eff.langevin_step(x, g, 0.3, bounds=bounds, rng=KEY), leaves)


def test_bounds_of_every_form_are_one_object():
    assert as_bounds(None) is None
    assert as_bounds((-1, 2)) == as_bounds([-1.0, 2.0]) == eff.Clamp(-1, 2)
    mirror = eff.Reflect(-1, 2)
    assert as_bounds(mirror) is mirror
    assert mirror != eff.Clamp(-1, 2)
    assert repr(as_bounds((-1, 2))) == "Clamp(lower=-1.0, upper=2.0)"


@pytest.mark.parametrize("pair", [(2, 1), (NAN, 0), (0, NAN)])
def test_clamps_are_in_order(pair):
    with pytest.raises(ValueError, match="bounds: expected lower <= upper, got"):
        eff.Clamp(*pair)


def test_a_sampler_takes_a_clamp():
    def sample(bounds):
        sampler = eff.Langevin(score=torch.neg, step_size=0.5, bounds=bounds)
        assert sampler.bounds == eff.Clamp(-0.5, 0.5)
        return sampler.sample(torch.zeros(4, 3), 5, rng=KEY)

    x = sample(eff.Clamp(-0.5, 0.5))
    assert_same_bits(x, sample((-0.5, 0.5)))
    assert x.abs().max() == 0.5
