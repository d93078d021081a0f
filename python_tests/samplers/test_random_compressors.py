"""Chains under random compressors: their stationary laws, and the corrections by Metropolis."""

import math

import pytest
import torch
from helpers import assert_same_bits, named

import effebm_ext as eff
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.samplers.cached import dense

CHAINS, DIM = 400, 50
RANDOM = [eff.RandomK(ratio=0.2), eff.RandomK(ratio=0.2, unbiased=False), eff.NaturalCompression()]


def energy(x):
    return x.square().sum(1) / 2


def variance(sampler, n_steps, seed=0):
    x0 = torch.randn(CHAINS, DIM, generator=torch.Generator().manual_seed(seed))
    state = sampler.init(x0, rng=eff.Key(seed))
    seen = []
    for _ in range(8):
        sampler.advance_(state, n_steps // 8)
        seen.append(state.x.double().square().mean().item())
    return sum(seen[2:]) / 6


@pytest.mark.parametrize("ratio", [0.5, 0.1])
def test_random_k_widens_the_law_as_computed(ratio):
    # x <- (1 - g D / 2) x + sqrt(g) xi, where D is 0 or d/k: E (1 - g D / 2)^2 = 1 - g + g^2 d/4k
    step_size = 0.04
    sampler = eff.Langevin(energy, step_size=step_size, compressor=eff.RandomK(ratio=ratio))
    expected = 1 / (1 - step_size / (4 * ratio))
    assert variance(sampler, 1600) == pytest.approx(expected, rel=0.02)


def test_the_biased_random_k_slows_the_chain_and_keeps_the_law():
    step_size = 0.2
    sampler = eff.Langevin(energy, step_size=step_size, compressor=RANDOM[1])
    # D is 0 or 1, with the mean 0.2: E (1 - g D / 2)^2 = 1 - 0.2 (g - g^2 / 4), noise stays g
    expected = 1 / (0.2 * (1 - step_size / 4))
    assert variance(sampler, 800) == pytest.approx(expected, rel=0.03)


def test_natural_compression_widens_the_law_as_computed():
    step_size = 1.0
    x = torch.randn(10**6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    v = 1.0
    for _ in range(30):  # v = (1 - g/2)^2 v + g^2/4 E r (s - r) + g, for a law close to N(0, v)
        u = x.abs() * math.sqrt(v)
        low = 2 ** u.log2().floor()
        lost = ((u - low) * (2 * low - u)).mean().item()
        v = (1 - step_size / 2) ** 2 * v + step_size**2 / 4 * lost + step_size
    sampler = eff.Langevin(energy, step_size=step_size, compressor=eff.NaturalCompression())
    measured = variance(sampler, 200)
    assert measured == pytest.approx(v, rel=0.015)
    assert v > 1.015 / (1 - step_size / 4)


@pytest.mark.parametrize("compressor", RANDOM, ids=named)
def test_metropolis_restores_the_law(compressor):
    sampler = eff.MALA(energy, step_size=0.4, compressor=compressor)
    state = sampler.init(torch.randn(2000, 5), rng=eff.Key(4))
    sampler.advance_(state, 100)
    seen = []
    for _ in range(10):
        info = sampler.advance_(state, 40)
        seen.append(state.x.double().square().mean().item())
    assert 0.3 < info.acceptance.mean() < 0.999
    assert sum(seen) / 10 == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("compressor", RANDOM, ids=named)
def test_every_drift_of_a_proposal_draws_anew(compressor):
    sampler = eff.MALA(energy, step_size=1e-12, compressor=compressor)
    state = sampler.init(torch.ones(4, 64) * 1.3, rng=eff.Key(4))
    drifts = [dense(state.drift)]
    for _ in range(3):
        sampler.advance_(state)
        drifts.append(dense(state.drift))
    sampler.refresh_(state)
    drifts.append(dense(state.drift))
    signs = [(c != 0) if compressor != RANDOM[2] else (c > 1.3) for c in drifts]
    for i, one in enumerate(signs):
        for other in signs[:i]:
            assert (one != other).any(1).all()


@pytest.mark.parametrize("compressor", RANDOM, ids=named)
def test_packing_changes_no_bit(compressor):
    sampler = eff.MALA(energy, step_size=0.3, compressor=compressor)
    state = sampler.init(torch.ones(4, 64), rng=eff.Key(4))
    assert not isinstance(state.drift, torch.Tensor)
    forward = eff.langevin_transition(state.x, dense(state.drift), 0.3, rng=state.key)
    assert_same_bits(sampler.propose(state).x, forward.x)


@pytest.mark.parametrize("compressor", RANDOM, ids=named)
def test_a_saved_state_goes_on_in_the_same_bits(compressor):
    sampler = eff.MALA(energy, step_size=0.3, compressor=compressor)
    state = sampler.init(torch.ones(4, 64), rng=eff.Key(4))
    sampler.advance_(state, 3)
    again = sampler.init(torch.zeros(4, 64), rng=eff.Key(4)).loaded(state.state_dict())
    for one in (state, again):
        sampler.advance_(one, 5)
    assert_same_bits(again.x, state.x)
    assert_same_bits(dense(again.drift), dense(state.drift))


@pytest.mark.parametrize("compressor", RANDOM, ids=named)
def test_packed_trajectories_give_the_states_back(compressor):
    sampler = eff.Langevin(energy, step_size=0.1, compressor=compressor)
    runs = [
        sampler.run(torch.ones(4, 64), 6, thin=2, trajectory=kind, rng=eff.Key(2))
        for kind in ("dense", "packed")
    ]
    assert_same_bits(runs[1].trajectory.replay(), runs[0].trajectory)


@pytest.mark.parametrize("compressor", RANDOM, ids=named)
def test_weights_of_a_fixed_energy_have_the_mean_one(compressor):
    """Jarzynski's equality: the mean weight is the ratio of the normalisers, here 1."""
    n, d = 20_000, 4
    sampler = eff.Langevin(energy, step_size=0.1, compressor=compressor)
    x0 = torch.randn(n, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_density = -energy(x0) - d / 2 * math.log(2 * math.pi)
    walkers = WeightedWalkers(sampler, x0, log_density, rng=eff.Key(3), resample_threshold=0.0)
    walkers.advance(10)
    weights = (walkers.log_weights - d / 2 * math.log(2 * math.pi)).exp()
    assert weights.std() > 1e-2
    assert abs(weights.mean() - 1) < 4.5 * weights.std() / n**0.5
