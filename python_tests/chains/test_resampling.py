"""Resampling: how often a walker is copied, and when walkers are resampled."""

import math

import pytest
import torch
from helpers import assert_same_bits
from moving_mixture import KEY, Mixture, walkers_of

import effebm_ext as eff
from effebm_ext.chains.resampling import SCHEMES, resample


@pytest.mark.parametrize("scheme", SCHEMES)
def test_resampling_is_unbiased(scheme):
    weights = torch.tensor([0.0, 0.31, 0.02, 0.17, 0.0, 0.4, 0.1, 0.0], dtype=torch.float64)
    rounds = 800
    counts = torch.stack(
        [torch.bincount(resample(weights.log(), scheme, eff.Key(1, r)), minlength=8)
         for r in range(rounds)]
    ).double()  # fmt: skip
    error = counts.std(0) / math.sqrt(rounds)
    assert bool(((counts.mean(0) - 8 * weights).abs() <= 4 * error).all())
    assert not counts[:, weights == 0].any()
    assert bool((counts.sum(1) == 8).all())
    if scheme == "systematic":  # as many as the weight says, rounded up or down
        assert bool(((counts - 8 * weights).abs() < 1).all())
    if scheme == "multinomial":
        variance = 8 * weights * (1 - weights)
        torch.testing.assert_close(counts.var(0), variance, rtol=0.2, atol=0)
    if scheme == "stratified":
        assert bool((counts.var(0) <= 8 * weights * (1 - weights) * 1.2).all())
    assert torch.equal(
        resample(weights.log() + 700, scheme, KEY), resample(weights.log(), scheme, KEY)
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_walkers_are_resampled_where_their_weights_ask_for_it(scheme):
    energy = Mixture(4)
    sampler = eff.MALA(energy, step_size=0.2, compressor=eff.TopK(1))
    walkers = walkers_of(energy, 400, sampler, resampling=scheme, resample_threshold=0.9)
    never = walkers_of(energy, 400, sampler, resample_threshold=0.0)
    energy.move(0.6)
    seen = walkers.advance(1)
    assert not never.advance(1).resampled
    assert seen.resampled
    assert seen.ess == never.ess < 0.9 * 400
    assert walkers.log_z == pytest.approx(never.log_z, abs=1e-12)
    assert walkers.ess == pytest.approx(400)
    rows = resample(never.log_weights, scheme, never.walkers.key.at(1))
    assert torch.equal(walkers.walkers.x, never.walkers.x[rows])
    assert torch.equal(walkers.walkers.energy, never.walkers.energy[rows])
    again = sampler.init(walkers.walkers.x)
    assert_same_bits(walkers.walkers.drift.unpack(), again.drift.unpack())


def test_any_rows_of_the_state_stand_for_all():
    """The walkers lie in the order of a coordinate, as copies and families do after resampling."""
    energy = Mixture(4)
    walkers = walkers_of(energy, 1000, eff.Langevin(energy, step_size=1e-6))
    x = walkers.walkers.x
    x.copy_(x[x[:, 0].argsort()])
    state = walkers.state.x
    assert torch.equal(state[:, 0].sort().values, x[:, 0].sort().values)  # all weigh the same
    share = (state[:100, 0] > x[500, 0]).double().mean()
    assert abs(float(share) - 0.5) < 4 * 0.05
    assert_same_bits(walkers.state.x, state)
