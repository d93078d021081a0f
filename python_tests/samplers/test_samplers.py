import math

import numpy as np
import pytest
import torch

import effebm_ext as eff
from effebm_ext.networks import MLPEnergy

STEPS = 7


@pytest.fixture
def energy():
    torch.manual_seed(0)
    return MLPEnergy((6,), width=16, depth=2)


@pytest.fixture
def x0():
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


def by_hand(energy, x0, step_size, key, residual=None, **options):
    x = x0.clone()
    for step in range(STEPS):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(energy(leaf).sum(), leaf)
        eff.langevin_step_(x, gradient, step_size, rng=key.at(step), residual=residual, **options)
    return x


@pytest.mark.parametrize(
    "compressor", [None, eff.TopK(2), eff.BlockSign(4), eff.NaturalCompression()], ids=str
)
def test_sampler_is_the_op_in_a_loop(energy, x0, compressor):
    options = {"compressor": compressor, "clip": eff.ClipValue(0.5), "bounds": (-1.0, 1.0)}
    feedback = compressor is not None
    residual = torch.zeros_like(x0) if feedback else None
    expected = by_hand(energy, x0, 0.1, eff.Key(3), residual, **options)
    sampler = eff.Langevin(energy, step_size=0.1, error_feedback=feedback, **options)
    state = sampler.init(x0, rng=eff.Key(3))
    sampler.advance_(state, STEPS)
    assert torch.equal(state.x, expected)
    assert torch.equal(sampler.sample(x0, STEPS, rng=eff.Key(3)), sampler.samples(state))


def test_energy_and_score_agree(energy, x0):
    def score(x):
        with torch.enable_grad():
            leaf = x.clone().requires_grad_()
            return -torch.autograd.grad(energy(leaf).sum(), leaf)[0]

    by_energy = eff.Langevin(energy, step_size=0.1).sample(x0, STEPS, rng=eff.Key(1))
    assert torch.equal(
        by_energy, eff.Langevin(score=score, step_size=0.1).sample(x0, STEPS, rng=eff.Key(1))
    )


def test_parameter_gradients_are_left_alone(energy, x0):
    energy(x0).sum().backward()
    before = [p.grad.clone() for p in energy.parameters()]
    eff.Langevin(energy, step_size=0.1).sample(x0, STEPS)
    assert all(torch.equal(p.grad, g) for p, g in zip(energy.parameters(), before, strict=True))


def test_sampling_works_under_no_grad_and_leaves_no_graph(energy, x0):
    with torch.no_grad():
        x = eff.Langevin(energy, step_size=0.1).sample(x0, STEPS, rng=eff.Key(0))
    assert not x.requires_grad
    assert torch.equal(x, eff.Langevin(energy, step_size=0.1).sample(x0, STEPS, rng=eff.Key(0)))


def test_step_is_pure_and_equals_sample(energy, x0):
    sampler = eff.Langevin(energy, step_size=0.1, compressor=eff.BlockSign(3), error_feedback=True)
    state = sampler.init(x0, rng=eff.Key(2))
    states = [state]
    for _ in range(STEPS):
        state, info = sampler.step(state)
        states.append(state)
        assert info.energy.shape == (5,)
    assert torch.equal(states[0].x, x0)
    assert states[0].residual.count_nonzero() == 0
    assert len({s.x.data_ptr() for s in states}) == STEPS + 1
    assert torch.equal(sampler.samples(state), sampler.sample(x0, STEPS, rng=eff.Key(2)))


def test_x0_is_not_written(energy, x0):
    before = x0.clone()
    eff.Langevin(energy, step_size=0.1).sample(x0, STEPS)
    assert torch.equal(x0, before)


def test_run_keeps_every_thinned_state_and_its_energies(energy, x0):
    sampler = eff.Langevin(energy, step_size=0.1)
    full = sampler.run(x0, 7, rng=eff.Key(4))
    thinned = sampler.run(x0, 7, thin=3, rng=eff.Key(4))
    assert full.trajectory.shape == (7, 5, 6)
    assert torch.equal(full.x, sampler.sample(x0, 7, rng=eff.Key(4)))
    assert torch.equal(full.x, thinned.x)
    assert torch.equal(thinned.trajectory, full.trajectory[2::3])
    assert torch.equal(thinned.info.energy, full.info.energy[2::3])
    assert torch.equal(full.info.energy[0], energy(x0).detach())
    assert eff.Langevin(score=torch.neg, step_size=0.1).run(x0, 2).info.energy is None


def test_chains_do_not_depend_on_how_they_are_batched(x0):
    sampler = eff.Langevin(score=torch.neg, step_size=0.1)
    whole = sampler.sample(x0, STEPS, rng=eff.Key(5, first_chain=10))
    parts = [
        sampler.sample(x0[:2], STEPS, rng=eff.Key(5, first_chain=10)),
        sampler.sample(x0[2:], STEPS, rng=eff.Key(5, first_chain=12)),
    ]
    assert torch.equal(whole, torch.cat(parts))


def test_step_size_may_depend_on_the_step(energy, x0):
    schedule = [0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.001]
    x, key = x0.clone(), eff.Key(6)
    constant = [eff.Langevin(energy, step_size=g) for g in schedule]
    state = constant[0].init(x, rng=key)
    for sampler in constant:
        state, _ = sampler.step(state)
    varying = eff.Langevin(energy, step_size=lambda step: schedule[step])
    assert torch.equal(varying.sample(x0, STEPS, rng=key), state.x)


def test_zero_temperature_descends(energy, x0):
    x = eff.Langevin(energy, step_size=0.1, temperature=0.0).sample(x0, 50)
    assert torch.equal(x, eff.Langevin(energy, step_size=0.1, temperature=0.0).sample(x0, 50))
    assert (energy(x) < energy(x0)).all()


def test_rng_none_follows_the_seed_and_generators_are_reproducible(energy, x0):
    sampler = eff.Langevin(energy, step_size=0.1)

    def seeded():
        torch.manual_seed(11)
        return sampler.sample(x0, 3)

    def generated():
        return sampler.sample(x0, 3, rng=torch.Generator().manual_seed(11))

    assert torch.equal(seeded(), seeded())
    assert torch.equal(generated(), generated())
    assert not torch.equal(sampler.sample(x0, 3), sampler.sample(x0, 3))


def test_energy_of_one_column_is_accepted(energy, x0):
    column = eff.Langevin(lambda x: energy(x)[:, None], step_size=0.1)
    flat = eff.Langevin(energy, step_size=0.1)
    assert torch.equal(
        column.sample(x0, STEPS, rng=eff.Key(0)), flat.sample(x0, STEPS, rng=eff.Key(0))
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, TypeError, "either an energy or score="),
        ({"score": torch.neg, "energy": torch.sum}, TypeError, "either an energy or score="),
        ({"score": torch.neg, "error_feedback": True}, ValueError, "error_feedback"),
        ({"score": torch.neg, "step_size": 0.0}, ValueError, "step_size: .* got 0"),
        ({"score": torch.neg, "step_size": -1.0}, ValueError, "step_size: .* got -1"),
        ({"score": torch.neg, "step_size": math.nan}, ValueError, "step_size: .* got nan"),
        ({"score": torch.neg, "temperature": -1.0}, ValueError, "temperature: .* got -1"),
    ],
)
def test_misuse_of_the_constructor(options, error, message):
    with pytest.raises(error, match=message):
        eff.Langevin(**{"step_size": 0.1, **options})


def test_misuse_of_the_calls(x0):
    sampler = eff.Langevin(score=torch.neg, step_size=0.1)
    with pytest.raises(ValueError, match=r"n_steps: .* got -1"):
        sampler.sample(x0, -1)
    with pytest.raises(ValueError, match="thin: expected 1 <= thin <= 4, got 5"):
        sampler.run(x0, 4, thin=5)
    with pytest.raises(TypeError, match="x0: expected float32"):
        sampler.sample(x0.int(), 1)
    with pytest.raises(TypeError, match="rng: expected a Key"):
        sampler.sample(x0, 1, rng=3)
    with pytest.raises(ValueError, match=r"energy: .* shape \(5,\), got shape \(\)"):
        eff.Langevin(torch.sum, step_size=0.1).sample(x0, 1)
    with pytest.raises(ValueError, match=r"score: expected the shape of x, \(5, 6\), got"):
        eff.Langevin(score=lambda x: x[:, :1], step_size=0.1).sample(x0, 1)


def test_a_state_of_a_sampler_with_other_error_feedback_is_refused(x0):
    plain = eff.Langevin(score=torch.neg, step_size=0.1, compressor=eff.TopK(1))
    fed = eff.Langevin(score=torch.neg, step_size=0.1, compressor=eff.TopK(1), error_feedback=True)
    for sampler, other in ((plain, fed), (fed, plain)):
        with pytest.raises(ValueError, match="state: expected a residual if and only if"):
            sampler.step(other.init(x0))


def test_sampling_in_inference_mode_gives_the_same_bits(energy, x0):
    sampler = eff.Langevin(energy, step_size=0.1)
    with torch.inference_mode():
        x = sampler.sample(x0, 3, rng=eff.Key(0))
    assert torch.equal(x, sampler.sample(x0, 3, rng=eff.Key(0)))


def test_negative_step_sizes_in_a_tensor_are_refused():
    with pytest.raises(ValueError, match="step_size: expected positive numbers"):
        eff.Langevin(score=torch.neg, step_size=torch.tensor([0.1, -0.1]))


@pytest.mark.parametrize("number", [np.float32(0.25), np.float16(0.25), np.float64(0.25)])
def test_numpy_scalars_are_numbers(energy, x0, number):
    want = eff.Langevin(energy, step_size=0.25, temperature=0.25).sample(x0, 2, rng=eff.Key(0))
    for step_size in (number, lambda step: number):
        sampler = eff.Langevin(energy, step_size=step_size, temperature=number)
        assert torch.equal(sampler.sample(x0, 2, rng=eff.Key(0)), want)
    one = eff.Langevin(energy, step_size=np.int64(1)).sample(x0, 2, rng=eff.Key(0))
    assert torch.equal(one, eff.Langevin(energy, step_size=1).sample(x0, 2, rng=eff.Key(0)))
    with pytest.raises(ValueError, match=r"step_size: .* got -0\.25"):
        eff.Langevin(energy, step_size=-number)
