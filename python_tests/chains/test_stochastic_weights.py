"""Weights along random drifts: the mean weight is Z, whether steps are adjusted or not."""

import math

import pytest
import torch
from helpers import assert_same_bits, named, normal
from known_laws import quartic_energy, quartic_law, quartic_log_z
from random_functions import (
    Dithered,
    MasksInTurn,
    Momentum,
    NumbersOfTheChain,
    made,
    numbers_by_the_gradient,
    the_same_mask_at_every_call,
)

import effebm_ext as eff
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.samplers.cached import dense

RANDOM = {
    "random-k": lambda: eff.RandomK(1),
    "natural": eff.NaturalCompression,
    "dithered": Dithered,
}
KEY = eff.Key(3)
LOG_Z_OF_START = 1.5 * math.log(2 * math.pi)
# The size and number of steps, and how far walkers follow the path: weights of unadjusted steps
# become uneven with every step, and have no variance where steps along a quartic are large.
MOVES = {eff.Langevin: (0.02, 10, 0.5), eff.MALA: (0.3, 25, 1.0)}


class Path:
    """Energies on the way from a standard normal to a tilted quartic."""

    share = 0.0

    def __call__(self, x):
        return quartic_energy(x, self.share)


def annealed(kind, compressor, n, *, seed=0, clip=None, **of_walkers):
    """Walkers that have followed the path (annealed importance sampling)."""
    step_size, steps, end = MOVES[kind]
    path, x0 = Path(), normal(n, 3, seed=seed)
    sampler = kind(path, step_size=step_size, compressor=compressor, clip=clip)
    log_density = -path(x0).double() - LOG_Z_OF_START
    key = eff.Key(KEY.seed + seed)
    walkers = WeightedWalkers(sampler, x0, log_density, rng=key, **of_walkers)
    for step in range(1, steps + 1):
        path.share = end * step / steps
        walkers.advance(1)
    return walkers


def over_z(log_z, kind):
    """exp(log_z) over the partition function at the end of the path."""
    return (log_z - quartic_log_z(MOVES[kind][2])).exp()


def off_and_error(values):
    """Of a mean from 1, with its standard error."""
    return values.mean(0) - 1, values.std(0) / math.sqrt(len(values))


@pytest.mark.parametrize("clip", [None, eff.ClipNorm(1.5)], ids=str)
@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("kind", MOVES)
def test_mean_weights_are_z_and_means_with_weights_are_of_the_law(kind, name, clip):
    walkers = annealed(kind, RANDOM[name](), 20_000, clip=clip, resample_threshold=0.0)
    weights = over_z(walkers.log_weights, kind)[:, None]
    moments = quartic_law(MOVES[kind][2]).moments(walkers.walkers.x)
    off, error = off_and_error(torch.cat([weights, weights * moments], 1))
    assert bool((off.abs() < 4.5 * error).all()), (off / error).tolist()
    assert float(error[0]) < 0.025
    assert float(over_z(torch.tensor(LOG_Z_OF_START), kind)) < 0.8  # what no weights would say


@pytest.mark.parametrize("moved", [0, 250])
@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("kind", MOVES)
def test_z_is_unbiased_over_runs_that_resample(kind, name, moved):
    found = [
        annealed(kind, RANDOM[name](), 500, seed=seed, moved=moved, resample_threshold=0.95).log_z
        for seed in range(16)
    ]
    off, error = off_and_error(over_z(torch.tensor(found), kind))
    assert abs(off) < 4.5 * error, (off, error)
    assert error < 0.05


INDEPENDENT = [the_same_mask_at_every_call, numbers_by_the_gradient, MasksInTurn]


@pytest.mark.parametrize("function", [*INDEPENDENT, NumbersOfTheChain, Momentum], ids=named)
def test_weights_need_numbers_that_are_independent_of_noise_and_past(function):
    """Masks in turn are right here, and wrong for MALA."""
    walkers = annealed(eff.Langevin, made(function, KEY), 20_000, resample_threshold=0.0)
    off, error = off_and_error(over_z(walkers.log_weights, eff.Langevin))
    assert (abs(off) < 5 * error) == (function in INDEPENDENT), (off, error)
    assert error < 0.025 or function is NumbersOfTheChain


@pytest.mark.parametrize("moved", [0, 20])
@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("kind", MOVES)
def test_saved_walkers_go_on_in_the_same_bits(kind, name, moved):
    compressor = RANDOM[name]()
    walkers, again = (annealed(kind, compressor, 50, seed=s, moved=moved) for s in (0, 1))
    again.load_state_dict(walkers.state_dict())
    numbers = compressor.generator.get_state() if name == "dithered" else None
    for one in (walkers, again):
        if numbers is not None:
            compressor.generator.set_state(numbers)
        for _ in range(4):
            one.advance(1)
    assert_same_bits(again.log_weights, walkers.log_weights)
    assert_same_bits(again.walkers.x, walkers.walkers.x)
    assert_same_bits(dense(again.walkers.drift), dense(walkers.walkers.drift))
