"""What samplers are given: numbers, schedules, and tensors that the caller changes later."""

import functools
import math

import numpy as np
import pytest
import torch
from helpers import assert_same_bits, normal

import effebm_ext as eff
from effebm_ext.chains.intermittent import IntermittentChains
from effebm_ext.chains.particle_moves import Move, step_correction
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.restart import Restart
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.evaluation import annealed_importance_sampling, gaussian_base, virial
from effebm_ext.samplers.divergence import Divergence, Watch

KEY = eff.Key(2)
START = normal(4, 6)
QUARTERS = [np.float32(0.25), np.float64(0.25), np.array(0.25), torch.tensor(0.25),
            torch.tensor(0.25, dtype=torch.float64)]  # fmt: skip


def energy(x):
    return (x**4 / 4 + x.roll(1, dims=-1) * x).flatten(1).sum(1)


# Numbers


@pytest.mark.parametrize("number", QUARTERS, ids=repr)
def test_numbers_of_any_kind_are_taken_everywhere(number):
    want = eff.Langevin(energy, step_size=0.25, temperature=0.25).sample(START, 3, rng=KEY)
    for step_size in (number, lambda step: number):
        sampler = eff.Langevin(energy, step_size=step_size, temperature=number)
        assert_same_bits(sampler.sample(START, np.int64(3), rng=KEY), want)
    want = eff.MALA(energy, step_size=0.25).sample(START, 3, rng=KEY)
    for step_size in (number, lambda step: number):
        sampler = eff.MALA(energy, step_size=step_size)
        assert_same_bits(sampler.sample(START, np.array(3), rng=KEY), want)
    walkers = WeightedWalkers(
        eff.Langevin(energy, step_size=number), START, torch.zeros(4), rng=KEY,
        moved=np.int32(2), resample_threshold=number,
    )  # fmt: skip
    walkers.advance(np.int64(2))
    assert Restart(number, torch.zeros, torch.Generator()).probability == 0.25


def test_integers_of_any_kind_are_taken_everywhere():
    sampler = eff.Langevin(energy, step_size=0.01)
    run = sampler.run(START, torch.tensor(6), thin=np.int8(2), rng=KEY)
    assert_same_bits(run.trajectory, sampler.run(START, 6, thin=2, rng=KEY).trajectory)
    replay = ReplayBuffer(sampler, START, n_chains=np.int64(2), generator=torch.Generator())
    IntermittentChains(replay, np.int64(1)).advance(np.int64(2))
    ais = annealed_importance_sampling(
        lambda x: x.square().sum(1) / 2, START, (torch.zeros(6), torch.ones(6)),
        n_steps=np.int64(3), n_chains=np.int64(5), generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert math.isfinite(ais.forward.value)


@pytest.mark.parametrize("make", [
    lambda value: eff.Langevin(energy, step_size=value),
    lambda value: eff.Langevin(energy, step_size=lambda step: value).sample(START, 1),
    lambda value: eff.MALA(energy, step_size=value),
    lambda value: eff.MALA(energy, step_size=lambda step: value).sample(START, 1),
    lambda value: eff.Langevin(energy, step_size=0.1, temperature=value),
], ids=["step_size", "schedule", "MALA", "schedule of MALA", "temperature"])  # fmt: skip
@pytest.mark.parametrize("value", [True, None, "a", 1j, [0.1], np.array([0.1, 0.2])], ids=repr)
def test_what_is_no_number_is_refused_by_name(make, value):
    with pytest.raises(TypeError, match=r"(step_size|temperature): expected a number"):
        make(value)


def test_tensors_with_axes_are_refused_where_there_is_one_number():
    steps = torch.full((4,), 0.1)
    with pytest.raises(TypeError, match=r"step_size: .* got Tensor of shape \(4,\)"):
        eff.MALA(energy, step_size=steps)
    with pytest.raises(TypeError, match=r"step_size: expected a number, got Tensor .* \(4,\)"):
        eff.MALA(energy, step_size=lambda step: steps).sample(START, 1)
    with pytest.raises(TypeError, match=r"step_size: .* got Tensor of shape \(4,\)"):
        WeightedWalkers(eff.Langevin(energy, step_size=steps), START, torch.zeros(4))
    with pytest.raises(TypeError, match=r"step_size: expected a number, got Tensor .* \(4,\)"):
        WeightedWalkers(
            eff.Langevin(energy, step_size=lambda step: steps), START, torch.zeros(4)
        ).advance(1)


@pytest.mark.parametrize("sampler", [
    eff.Langevin(energy, step_size=0.1),
    eff.Langevin(energy, step_size=0.1, shards=2),
    eff.MALA(energy, step_size=0.1),
], ids=["Langevin", "shards", "MALA"])  # fmt: skip
def test_negative_numbers_of_steps_are_refused(sampler):
    state = sampler.init(START, rng=KEY)
    for move in (sampler.advance_, lambda state, n: sampler.sample(state.x, n)):
        with pytest.raises(ValueError, match="n_steps: expected at least 0, got -3"):
            move(state, -3)
    assert state.step == 0
    assert_same_bits(state.x, START)


# Schedules


@pytest.mark.parametrize(
    "bad",
    [0, 0.0, -0.1, math.nan, math.inf, np.float32(-1), torch.tensor(-0.1), torch.tensor(math.nan),
     torch.tensor([0.1, 0.1, -0.1, 0.1]), torch.tensor([0.1, math.inf, 0.1, 0.1])],
    ids=repr,
)  # fmt: skip
def test_schedules_are_held_to_what_numbers_are(bad):
    def schedule(step):
        return 0.1 if step < 3 else bad

    sampler = eff.Langevin(energy, step_size=schedule, compressor=eff.TopK(2))
    sampler.sample(START, 3)
    for options in ({}, {"trajectory": "packed"}):
        with pytest.raises(ValueError, match=r"step_size: expected (a )?positive") as caught:
            sampler.run(START, 5, **options)
        assert isinstance(bad, torch.Tensor) == ("at step 3" in str(caught.value))
    if not isinstance(bad, torch.Tensor) or bad.dim() == 0:
        with pytest.raises(ValueError, match="step_size: expected a positive finite number"):
            eff.MALA(energy, step_size=schedule).sample(START, 5)


def test_step_sizes_on_a_gpu_are_looked_at_at_the_end_of_the_call():
    class Elsewhere(torch.Tensor):
        is_cpu = False

    for values, fits in (([0.1, 0.2], True), ([0.1, -0.2], False), ([math.nan], False)):
        state = eff.Langevin(energy, step_size=0.1).init(START, rng=KEY)
        watch = Watch(Divergence("keep", ""), "energy", state)
        for value in values:
            watch.step_size(torch.tensor(value).as_subclass(Elsewhere), state.step)
            state.step += 1
            watch.step(state, torch.zeros(4))
        if fits:
            assert not watch.end(state).any()
            continue
        with pytest.raises(ValueError, match=r"step_size: expected positive .* steps? 0"):
            watch.end(state)


def test_a_tensor_as_step_size_is_read_at_every_step():
    step_size = torch.tensor(0.2)
    sampler = eff.Langevin(energy, step_size=step_size)
    state = sampler.init(START, rng=KEY)
    sampler.advance_(state)
    step_size *= 0.5
    sampler.advance_(state)
    halved = eff.Langevin(energy, step_size=lambda step: [0.2, 0.1][step])
    assert_same_bits(state.x, halved.sample(START, 2, rng=KEY))


# Tensors and lists that the caller changes later


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("steps", [torch.tensor(0.3), torch.full((4,), 0.3)], ids=["()", "(4,)"])
def test_a_packed_trajectory_owns_its_step_sizes(temperature, steps):
    steps = steps.clone()
    bounds = [-0.7, 1.1]
    options = {"compressor": eff.TopK(2), "temperature": temperature, "bounds": bounds}
    sampler = eff.Langevin(energy, step_size=steps, **options)
    run = sampler.run(START, 8, trajectory="packed", rng=KEY)
    dense = sampler.run(START, 8, rng=KEY).trajectory
    steps *= 0.5
    bounds[1] = 0.0
    assert_same_bits(run.trajectory.replay(), dense)
    written = torch.tensor(0.3)

    def schedule(step):
        return written.fill_(0.3 / (1 + step))

    sampler = eff.Langevin(energy, step_size=schedule, **options)
    dense = sampler.run(START, 8, rng=KEY).trajectory
    packed = sampler.run(START, 8, trajectory="packed", rng=KEY).trajectory
    assert_same_bits(packed.replay(), dense)


def test_states_of_a_trajectory_can_be_written():
    sampler = eff.Langevin(energy, step_size=0.1, compressor=eff.TopK(2))
    packed = sampler.run(START, 5, trajectory="packed", rng=KEY).trajectory
    want = packed.replay()
    for x, wanted in zip(packed, want, strict=True):
        assert_same_bits(x, wanted)
        x.zero_()


def test_what_is_given_is_not_kept():
    y, density = torch.tensor([0, 1, 0, 1]), torch.zeros(4)
    sampler = eff.Langevin(lambda x, y: (1 + y) * energy(x), step_size=0.1)
    state = sampler.init(START, rng=KEY, energy_kwargs={"y": y})
    walkers = WeightedWalkers(eff.Langevin(energy, step_size=0.1), START, density, rng=KEY)
    weights = walkers.log_weights.clone()
    y.zero_()
    density.fill_(9.0)
    assert state.energy_kwargs["y"].tolist() == [0, 1, 0, 1]
    assert torch.equal(walkers.log_weights, weights)


def test_a_shared_tensor_of_n_rows_is_bound_to_the_energy():
    table = normal(4, 6, seed=5)  # as many rows as chains

    def distance(x, table):
        return (x[:, None] - table).square().sum((1, 2))

    sampler = eff.Langevin(functools.partial(distance, table=table), step_size=0.01)
    replay = ReplayBuffer(
        sampler, START, n_chains=2, generator=torch.Generator().manual_seed(0), rng=KEY
    )
    replay.advance(1)
    (drawn,) = (torch.randperm(4, generator=torch.Generator().manual_seed(0))[:2],)
    assert_same_bits(replay.x, sampler.sample(START[drawn], 1, rng=KEY))


# A step size per chain, where chains change places


@pytest.mark.parametrize("steps", [torch.full((8,), 0.1), torch.full((1,), 0.1)], ids=str)
def test_a_buffer_refuses_a_step_size_per_chain(steps):
    def replay(step_size):
        sampler = eff.Langevin(score=torch.neg, step_size=step_size)
        return ReplayBuffer(sampler, normal(8, 1), n_chains=8, generator=torch.Generator(), rng=KEY)

    with pytest.raises(TypeError, match=r"step_size: expected one for all chains of a buffer"):
        replay(steps)
    late = replay(lambda step: 0.1 if step == 0 else steps)
    late.advance(1)
    with pytest.raises(TypeError, match=r"step_size: expected one .* got a tensor of shape \("):
        late.advance(1)
    for one in (0.1, torch.tensor(0.1), lambda step: torch.tensor(0.1)):
        replay(one).advance(2)
    chains = PersistentChains(eff.Langevin(score=torch.neg, step_size=steps), normal(8, 1))
    if len(steps) == 8:
        chains.advance(1)  # whose chains stay in their places


def test_single_numbers_give_what_events_of_one_give():
    def half_square(x):
        return x.reshape(len(x)).square() / 2

    def results(x):
        measured = eff.Langevin(half_square, step_size=0.1, statistics=True).run(x, 3, rng=KEY)
        ais = annealed_importance_sampling(
            half_square, x, gaussian_base(x), n_steps=5, n_chains=8,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        correction = step_correction(Move(x, x.reshape(len(x)).double()))
        estimates = [*ais.forward, *virial(x, x), float(correction), *measured.x.flatten()]
        return [float(value) for value in estimates]

    x = normal(6)
    assert results(x) == results(x[:, None])


@pytest.mark.parametrize("kind", [eff.Langevin, eff.MALA])
def test_what_steps_are_derived_from_cannot_be_assigned(kind):
    sampler = kind(energy, step_size=0.1)
    other = {"energy": torch.sum, "compressor": eff.TopK(1), "compile": True,
             "gradient_dtype": torch.bfloat16, "on_divergence": "raise"}  # fmt: skip
    if kind is eff.Langevin:
        other |= {"score": torch.neg, "error_feedback": True, "averaged_noise": True,
                  "cuda_graph": True}  # fmt: skip
    assert sampler.fixed == set(other)
    for name, value in other.items():
        with pytest.raises(AttributeError, match=f"{name}: expected the one that this"):
            setattr(sampler, name, value)
    sampler.step_size, sampler.clip = 0.2, eff.ClipValue(1.0)
    same = kind(energy, step_size=0.2, clip=eff.ClipValue(1.0))
    key = eff.Key(1)
    assert_same_bits(sampler.sample(START, 3, rng=key), same.sample(START, 3, rng=key))
