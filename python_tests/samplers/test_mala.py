"""Metropolis-adjusted steps along any drift: the ratio, the law, the cache, what is refused."""

import math

import pytest
import torch
from helpers import assert_same_bits, named, normal

import effebm_ext as eff
from effebm_ext.ops.metropolis import exp_reference
from effebm_ext.ops.packing import Packed
from effebm_ext.ops.uniforms import uniforms
from effebm_ext.rng import ACCEPTANCE
from effebm_ext.samplers.cached import dense
from effebm_ext.samplers.proposal import LangevinProposal

COMPRESSORS = [None, eff.TopK(1), eff.TopK(3), eff.BlockSign(4), eff.BlockSign(3), torch.tanh]
CLIPS = [None, eff.ClipValue(0.7), eff.ClipNorm(1.5)]
KEY = eff.Key(3)


def energy(x):
    """Not convex, and not symmetric."""
    a = torch.linspace(0.5, 2, x.shape[1], dtype=x.dtype)
    return (a * x.square()).sum(1) / 2 + torch.sin(x).sum(1) + 0.3 * x[:, 0] * x[:, 1]


def log_density_of_step(x, to, step_size, compressor, clip):
    """Of a Langevin step, up to a constant: from the definition, by autograd."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(energy(x).sum(), x)
    c = eff.drift(gradient, compressor=compressor, clip=clip).drift
    mean = x.detach() - step_size / 2 * c
    return -(to - mean).square().sum(1) / (2 * step_size)


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=named)
@pytest.mark.parametrize("clip", CLIPS, ids=named)
def test_the_ratio_is_that_of_the_densities(compressor, clip):
    proposal = LangevinProposal(energy, step_size=0.4, compressor=compressor, clip=clip)
    state = proposal.init(normal(200, 8, dtype=torch.float64), rng=KEY)
    found = proposal.propose(state)
    forward = log_density_of_step(state.x, found.x, 0.4, compressor, clip)
    back = log_density_of_step(found.x, state.x, 0.4, compressor, clip)
    want = energy(state.x) - energy(found.x) + back - forward
    torch.testing.assert_close(found.log_ratio, want, rtol=1e-11, atol=1e-11)
    assert want.std() > 0.1
    assert not torch.equal(found.x, state.x)


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=named)
def test_detailed_balance(compressor):
    """The way back has the opposite ratio, so p(x) q(x'|x) min(1, r) is symmetric."""
    proposal = LangevinProposal(energy, step_size=0.4, compressor=compressor)
    state = proposal.init(normal(100, 8, dtype=torch.float64), rng=KEY)
    there = proposal.propose(state)
    end = proposal.init(there.x, rng=KEY)
    delta = state.x - there.x
    onward, back = (eff.drift(dense(s.drift), delta=delta) for s in (end, state))
    dots = (onward.drift_dot_delta + back.drift_dot_delta) / 2
    squares = 0.4 / 8 * (onward.drift_sq - back.drift_sq)
    ratio = end.energy - state.energy + dots + squares
    torch.testing.assert_close(ratio, -there.log_ratio, rtol=1e-12, atol=1e-12)


def test_strong_compression_leaves_the_covariance_exact():
    """Top-1 of 8 for a correlated Gaussian: plain, its variances are over twice the target's."""
    basis = torch.linalg.qr(normal(8, 8, seed=1, dtype=torch.float64)).Q
    precision = basis * torch.logspace(-0.3, 0.5, 8, dtype=torch.float64) @ basis.T
    covariance = torch.linalg.inv(precision)

    def gaussian(x):
        return (x @ precision * x).sum(1) / 2

    half = torch.linalg.cholesky(covariance)
    chains, looks = 1000, 40
    x0 = normal(chains, 8, seed=2, dtype=torch.float64) @ half.T
    sampler = eff.MALA(gaussian, step_size=0.5, compressor=eff.TopK(1))
    state, found = sampler.init(x0, rng=KEY), []
    acceptance = sampler.advance_(state, 50).acceptance
    for _ in range(looks):
        sampler.advance_(state, 10)
        found.append(state.x[:, :, None] * state.x[:, None, :])
    per_chain = torch.stack(found).mean(0)  # chains are independent
    error = per_chain.std(0) / math.sqrt(chains)
    deviation = (per_chain.mean(0) - covariance) / error
    assert deviation.abs().max() < 4.5  # of 36 numbers; 1 in 4000 by chance
    assert 0.2 < acceptance.mean() < 0.9
    plain = eff.Langevin(gaussian, step_size=0.5, compressor=eff.TopK(1)).sample(x0, 400, rng=KEY)
    assert plain.var(0).sum() > 2 * covariance.trace()


def test_acceptance_is_the_mean_of_the_probabilities_and_decides():
    sampler = eff.MALA(energy, step_size=1.0, compressor=eff.BlockSign(4))
    state = sampler.init(normal(5000, 8), rng=KEY)
    probability = exp_reference(sampler.propose(state).log_ratio.clamp(max=0))
    before = state.clone()
    info = sampler.advance_(state)
    assert torch.equal(info.acceptance, probability)
    assert torch.equal(info.energy, before.energy)
    moved = (state.x != before.x).any(1)
    assert torch.equal(moved, uniforms(KEY, 5000, ACCEPTANCE, like=before.x) < probability)
    two = sampler.advance_(before, 2)
    expected = (probability + sampler.advance_(state).acceptance) / 2
    assert torch.equal(two.acceptance, expected)


@pytest.mark.parametrize("compressor", [None, eff.TopK(2), eff.BlockSign(3)], ids=named)
def test_the_cache_is_that_of_the_state_and_packing_changes_no_bit(compressor):
    sampler = eff.MALA(energy, step_size=0.8, compressor=compressor)
    # the same compressor as a function of a tensor is not packed
    function = compressor and (lambda g: compressor.compress(g))
    plain = eff.MALA(energy, step_size=0.8, compressor=function)
    state, dense_state = sampler.init(normal(64, 8), rng=KEY), plain.init(normal(64, 8), rng=KEY)
    assert isinstance(dense_state.drift, torch.Tensor)
    assert isinstance(state.drift, torch.Tensor) == (compressor is None)
    for _ in range(20):
        sampler.advance_(state)
        plain.advance_(dense_state)
    assert_same_bits(state.x, dense_state.x)
    assert_same_bits(dense(state.drift), dense_state.drift)
    again = sampler.init(state.x)
    assert_same_bits(state.energy, again.energy)
    assert_same_bits(dense(state.drift), dense(again.drift))


@pytest.mark.parametrize("compressor", [None, eff.TopK(2), eff.BlockSign(4)], ids=named)
def test_steps_in_one_call_or_many_and_old_tensors_stay(compressor):
    sampler = eff.MALA(energy, step_size=0.8, compressor=compressor)
    one, many = (sampler.init(normal(64, 8), rng=KEY) for _ in range(2))
    kept = [one.x, one.energy, *tensors_of_drift(one)]
    before = [t.clone() for t in kept]
    info = sampler.advance_(one, 5)
    infos = [sampler.advance_(many) for _ in range(5)]
    assert_same_bits(one.x, many.x)
    for a, b in zip(tensors_of_drift(one), tensors_of_drift(many), strict=True):
        assert_same_bits(a, b)
    mean = torch.stack([i.acceptance for i in infos]).sum(0) / 5
    torch.testing.assert_close(info.acceptance, mean, rtol=1e-15, atol=0)
    assert_same_bits(info.energy, infos[-1].energy)
    for now, then in zip(kept, before, strict=True):
        assert_same_bits(now, then)


def tensors_of_drift(state):
    """The tensors of the drift."""
    drift = state.drift
    tensors = [drift] if isinstance(drift, torch.Tensor) else drift.tensors().values()
    return [t for t in tensors if t is not None]


def test_a_step_that_fails_leaves_the_drift_packed():
    calls = []

    def fails(x):
        calls.append(len(x))
        if len(calls) == 3:
            raise ZeroDivisionError
        return energy(x)

    sampler = eff.MALA(fails, step_size=0.8, compressor=eff.TopK(2))
    state = sampler.init(normal(64, 8), rng=KEY)
    with pytest.raises(ZeroDivisionError):
        sampler.advance_(state, 5)
    assert state.step == 1
    assert isinstance(state.drift, Packed)
    assert_same_bits(dense(state.drift), dense(sampler.init(state.x).drift))


@pytest.mark.parametrize("compressor", [None, eff.TopK(2), eff.BlockSign(4)], ids=named)
def test_taken_and_put_back(compressor):
    sampler = eff.MALA(energy, step_size=0.8, compressor=compressor)
    x0 = normal(10, 8)
    x0[3] = 0  # a drift of one sign but for this
    state = sampler.init(x0, rng=KEY)
    rows = torch.tensor([7, 3, 1])
    want = sampler.init(x0 + 0)
    part = state.take(rows)
    sampler.move_(part, sampler.propose(part))
    state.put_(rows, part)
    assert torch.equal(state.x[rows], part.x)
    others = torch.tensor([0, 2, 4, 5, 6, 8, 9])
    assert torch.equal(state.x[others], x0[others])
    again = sampler.init(state.x)
    assert_same_bits(dense(state.drift), dense(again.drift))
    assert torch.equal(state.energy, again.energy)
    assert torch.equal(want.x, x0)


def test_signs_with_and_without_zeros_take_each_others_place():
    c = eff.BlockSign(2)
    plain, zeros = torch.ones(3, 4), torch.tensor([[1.0, 0, -2, 2], [1, 1, 0, 0]])
    rows = torch.tensor([2, 0])
    for a, b in ((plain, zeros), (zeros[[0, 1, 0]], plain[:2]), (zeros[[0, 1, 0]], 0 - zeros)):
        want = a.clone()
        want[rows] = b
        assert_same_bits(c.pack(a).put(rows, c.pack(b)).unpack(), want)


def test_what_is_not_finite_is_rejected():
    def cliff(x):
        e = x.square().sum(1) / 2
        e = torch.where(x[:, 0] > 1, math.nan, e)
        e = torch.where(x[:, 0] < -1, math.inf, e)
        return torch.where(x[:, 1] > 1, -math.inf, e)

    for compressor in (None, eff.TopK(1), eff.BlockSign(2)):
        sampler = eff.MALA(cliff, step_size=1.0, compressor=compressor)
        state = sampler.init(torch.zeros(500, 2), rng=KEY)
        for _ in range(10):
            info = sampler.advance_(state)
            assert bool(info.acceptance.isfinite().all())
        assert bool((state.x[:, 0].abs() <= 1).all() and (state.x[:, 1] <= 1).all())
        assert bool(state.energy.isfinite().all() and dense(state.drift).isfinite().all())
        assert state.x.std() > 0.4


def test_a_step_leaves_the_state_and_a_batch_can_be_split():
    sampler = eff.MALA(energy, step_size=0.5, compressor=eff.TopK(2))
    x0 = normal(12, 8)
    state = sampler.init(x0, rng=KEY)
    after, _ = sampler.step(state)
    assert (after.step, state.step) == (1, 0)
    assert torch.equal(state.x, x0)
    whole = sampler.sample(x0, 5, rng=KEY)
    second = sampler.sample(x0[7:], 5, rng=eff.Key(3, first_chain=7))
    assert torch.equal(whole[7:], second)


def test_what_is_refused():
    with pytest.raises(
        ValueError, match=r"error_feedback: .* random numbers too, and not on the past"
    ):
        eff.MALA(energy, step_size=0.1, compressor=eff.TopK(1), error_feedback=True)
    with pytest.raises(ValueError, match=r"bounds: .* the density of the step"):
        eff.MALA(energy, step_size=0.1, bounds=(-1, 1))
    for step_size in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="step_size: expected a positive finite number"):
            eff.MALA(energy, step_size=step_size)
    with pytest.raises(TypeError, match="step_size: expected a number or a function, got Tensor"):
        eff.MALA(energy, step_size=torch.ones(3))
    with pytest.raises(TypeError, match=r"x0: expected float32 or float64, .* got torch.bfloat16"):
        eff.MALA(energy, step_size=0.1).init(torch.zeros(2, 8, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match="expected one value per chain"):
        eff.MALA(lambda x: x, step_size=0.1).init(normal(2, 8))
