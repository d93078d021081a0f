"""Adjusted chains along random drifts: exact laws, the ratio, what goes on, and what would fail."""

import math

import pytest
import torch
from helpers import assert_same_bits, named, normal
from known_laws import LAWS, VARIANCES, gaussian_energy
from random_functions import (
    Dithered,
    MasksInTurn,
    Momentum,
    NumbersOfTheChain,
    by_the_batch,
    made,
    numbers_by_the_gradient,
    the_same_mask_at_every_call,
)

import effebm_ext as eff
from effebm_ext.ops.uniforms import uniforms
from effebm_ext.rng import ACCEPTANCE
from effebm_ext.samplers.cached import dense

KEY = eff.Key(3)
FUSED = [eff.RandomK(1), eff.NaturalCompression()]
RANDOM = [*FUSED, Dithered]


def deviations(law, sampler, *, chains=2500, steps=100, **options):
    """The moments of chains that start from the law, less 1, with their errors over chains."""
    state = sampler.init(law.draw(chains), rng=KEY, **options)
    acceptance = sampler.advance_(state, steps).acceptance.mean()
    looks = []
    for _ in range(10):
        sampler.advance_(state, 6)
        looks.append(law.moments(state.x))
    per_chain = torch.stack(looks).mean(0)
    return per_chain.mean(0) - 1, per_chain.std(0) / math.sqrt(chains), acceptance


def is_exact(off, error):
    """Of at most nine numbers by five standard errors: wrong once in 200 000 by chance."""
    return bool((off.abs() < 5 * error).all())


@pytest.mark.parametrize("compressor", RANDOM, ids=named)
@pytest.mark.parametrize("clip", [None, eff.ClipNorm(1.5)], ids=str)
@pytest.mark.parametrize("name", LAWS)
def test_the_law_is_exact(name, clip, compressor):
    step_size = {"gaussian": 0.8, "banana": 0.5, "quartic": 0.5}[name]
    law = LAWS[name]
    sampler = eff.MALA(law.energy, step_size=step_size, compressor=made(compressor, KEY), clip=clip)
    off, error, acceptance = deviations(law, sampler)
    assert is_exact(off, error), (off / error).tolist()
    assert 0.2 < acceptance < 0.85
    assert float(error[:2].max()) < 0.06


def test_without_acceptance_the_same_test_fails():
    """The test of the test: unadjusted steps along the same drift are far off."""
    law = LAWS["gaussian"]
    sampler = eff.Langevin(law.energy, step_size=0.3, compressor=eff.RandomK(1))
    x = sampler.sample(law.draw(2500), 160, rng=KEY)
    moments = law.moments(x)
    assert not is_exact(moments.mean(0) - 1, moments.std(0) / 50)


class RedrawnOnAcceptance(eff.MALA):
    """Wrong: the numbers of the drift back are not those with which the chain goes on."""

    def propose(self, state):
        found = super().propose(state)
        _, gradient = self.gradient(found.x, state.energy_kwargs)
        drift, _ = self._drift(gradient, state.key, state.step + 2**50)
        return found._replace(drift=drift)


class RedrawnOnRejection(eff.MALA):
    """Wrong: a chain that stays draws new numbers, and one that moves does not."""

    last = None

    def propose(self, state):
        if self.last is not None:
            stayed = (state.x == self.last).all(1, keepdim=True)
            _, gradient = self.gradient(state.x, state.energy_kwargs)
            drift, _ = self._drift(gradient, state.key, state.step + 2**50)
            state.drift = drift.where(stayed, state.drift)
        self.last = state.x
        return super().propose(state)


class RedrawnAlways(eff.MALA):
    """Right: numbers are drawn anew at every step, whatever happened."""

    def propose(self, state):
        _, gradient = self.gradient(state.x, state.energy_kwargs)
        state.drift, _ = self._drift(gradient, state.key, state.step + 2**50)
        return super().propose(state)


REDRAWN = [
    *((kind, compressor) for kind in (RedrawnOnAcceptance, RedrawnAlways) for compressor in FUSED),
    (RedrawnOnRejection, eff.RandomK(1)),
]


@pytest.mark.parametrize(("kind", "compressor"), REDRAWN, ids=named)
def test_numbers_redrawn_by_the_outcome_of_a_step_spoil_the_law(kind, compressor):
    law = LAWS["gaussian"]
    sampler = kind(law.energy, step_size=0.9, compressor=compressor)
    off, error, _ = deviations(law, sampler, chains=4000)
    assert is_exact(off, error) == (kind is RedrawnAlways), (off / error).tolist()


EXACT = [eff.RandomK(1).compress, the_same_mask_at_every_call, numbers_by_the_gradient]
WRONG = [MasksInTurn, NumbersOfTheChain, Momentum, by_the_batch]


@pytest.mark.parametrize("function", [*EXACT, *WRONG], ids=named)
def test_which_functions_with_random_numbers_are_exact(function):
    law, compressor = LAWS["gaussian"], made(function, KEY)
    sampler = eff.MALA(law.energy, step_size=0.8, compressor=compressor)
    off, error, _ = deviations(law, sampler, chains=6000)
    assert is_exact(off, error) == (function in EXACT), (off / error).tolist()


def log_density_of_step(x, to, drift, step_size):
    """Of a Langevin step, up to a constant: from the definition."""
    return -(to - x + step_size / 2 * drift).square().sum(1) / (2 * step_size)


@pytest.mark.parametrize("clip", [None, eff.ClipNorm(1.5)], ids=str)
@pytest.mark.parametrize("compressor", FUSED, ids=str)
def test_steps_accept_by_the_definition_and_keep_the_drift(compressor, clip):
    """In plain PyTorch: gradient by hand, the drift's numbers from the key, the kept drift in the
    ratio, and the old drift where a chain stays."""
    law, step_size = LAWS["gaussian"], 0.9
    sampler = eff.MALA(law.energy, step_size=step_size, compressor=compressor, clip=clip)
    state = sampler.init(law.draw(400).double(), rng=KEY)

    def drift_at(x, step):
        g = x / VARIANCES
        if clip is not None:
            g = g * (clip.limit / g.norm(dim=1, keepdim=True)).clamp(max=1)
        return compressor.reference(g, KEY.seed, step, 0)

    drift = drift_at(state.x, 2**55)
    for step in range(6):
        x, to = state.x.clone(), sampler.propose(state).x
        back = drift_at(to, step)
        ratio = gaussian_energy(x) - gaussian_energy(to)
        ratio += log_density_of_step(to, x, back, step_size)
        ratio -= log_density_of_step(x, to, drift, step_size)
        probability = ratio.exp().clamp(max=1)
        info = sampler.advance_(state)
        torch.testing.assert_close(info.acceptance, probability, rtol=1e-9, atol=1e-12)
        moves = uniforms(KEY.at(step), 400, ACCEPTANCE, like=x) < probability
        assert 50 < int(moves.sum()) < 390
        drift = torch.where(moves[:, None], back, drift)
        assert torch.equal(state.x, torch.where(moves[:, None], to, x))
        torch.testing.assert_close(dense(state.drift), drift, rtol=1e-14, atol=0)


def test_a_function_is_called_once_for_a_step_and_what_it_gave_is_kept():
    given = []

    def records(g):
        given.append(Dithered(seed=len(given))(g))
        return given[-1].clone()

    sampler = eff.MALA(gaussian_energy, step_size=0.9, compressor=records)
    state = sampler.init(LAWS["gaussian"].draw(200).double(), rng=KEY)
    drift = given[0]
    for step in range(5):
        x = state.x.clone()
        sampler.advance_(state)
        assert len(given) == step + 2
        moved = (state.x != x).any(1, keepdim=True)
        assert 0 < int(moved.sum()) < 200
        drift = torch.where(moved, given[-1], drift)
        assert torch.equal(state.drift, drift)


@pytest.mark.parametrize("compressor", RANDOM, ids=named)
def test_values_per_chain_belong_to_the_law(compressor):
    chains, law = 2500, LAWS["gaussian"]
    scale = torch.linspace(0.5, 2, chains)[:, None]

    def scaled(x, scale):
        return gaussian_energy(x / scale)

    def moments(x):
        return law.moments(x / scale)

    scaled_law = law._replace(draw=lambda n: law.draw(n) * scale, moments=moments)
    sampler = eff.MALA(scaled, step_size=0.5, compressor=made(compressor, KEY))
    off, error, acceptance = deviations(scaled_law, sampler, energy_kwargs={"scale": scale})
    assert is_exact(off, error), (off / error).tolist()
    assert 0.2 < acceptance < 0.85


@pytest.mark.parametrize("compressor", FUSED, ids=str)
def test_shards_of_a_batch_draw_the_numbers_of_their_chains(compressor):
    sampler = eff.MALA(gaussian_energy, step_size=0.8, compressor=compressor)
    x0 = normal(12, 3)
    whole = sampler.sample(x0, 8, rng=KEY)
    parts = [
        sampler.sample(x0[rows], 8, rng=eff.Key(3, first_chain=rows.start))
        for rows in (slice(0, 5), slice(5, 6), slice(6, 12))
    ]
    assert_same_bits(torch.cat(parts), whole)
    assert (whole != x0).any(1).sum() > 6


def test_a_function_goes_on_in_the_same_bits_with_its_generator():
    function = Dithered()
    sampler = eff.MALA(gaussian_energy, step_size=0.8, compressor=function)
    state = sampler.init(normal(50, 3), rng=KEY)
    sampler.advance_(state, 4)
    numbers, again = function.generator.get_state(), sampler.init(normal(50, 3), rng=KEY)
    again = again.loaded(state.state_dict())
    assert_same_bits(again.drift, state.drift)
    function.generator.set_state(numbers)
    sampler.advance_(state, 5)
    function.generator.set_state(numbers)
    sampler.advance_(again, 5)
    assert_same_bits(again.x, state.x)
    assert_same_bits(again.drift, state.drift)
