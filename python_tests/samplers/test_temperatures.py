"""Chains of one sampler, each at a temperature of its own."""

import pytest
import torch
from helpers import assert_same_bits, normal

import effebm_ext as eff
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.weighted import WeightedWalkers

LADDER = torch.tensor([0.0, 0.25, 1.0, 1.0, 3.0], dtype=torch.float64)


def energy(x):
    return x.square().flatten(1).sum(1) / 2


def test_chains_sample_their_own_temperatures():
    temperature = torch.tensor([0.25, 1.0, 4.0]).repeat(2000)
    sampler = eff.Langevin(energy, step_size=0.5, temperature=temperature, averaged_noise=True)
    x = sampler.sample(normal(6000, 8) * temperature.sqrt()[:, None], 60, rng=eff.Key(1))
    found = x.double().square().mean(1).view(2000, 3)
    error = found.std(0) / 2000**0.5
    assert ((found.mean(0) - temperature[:3]).abs() < 4 * error).all()
    assert (error < 0.02 * temperature[:3]).all()


@pytest.mark.parametrize("step_size", [0.1, torch.tensor(0.1), torch.full((5,), 0.1)])
@pytest.mark.parametrize("shards", [1, 2])
def test_a_chain_moves_as_in_a_sampler_of_its_temperature(step_size, shards):
    x0 = normal(5, 7)
    options = {"step_size": step_size, "compressor": eff.TopK(3), "error_feedback": True}
    together = eff.Langevin(energy, temperature=LADDER, shards=shards, **options)
    got = together.sample(x0, 6, rng=eff.Key(2))
    for row, temperature in enumerate(LADDER.tolist()):
        alone = eff.Langevin(energy, temperature=temperature, **options)
        want = alone.sample(x0, 6, rng=eff.Key(2))
        torch.testing.assert_close(got[row], want[row], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("step_size", [0.073, 1e-7, 2e-8])
def test_tensors_of_any_dtype_scale_the_noise_as_numbers_do(dtype, step_size):
    options = {"score": torch.zeros_like, "step_size": step_size}
    by_number = eff.Langevin(temperature=0.25, **options)
    by_tensor = eff.Langevin(temperature=torch.full((3,), 0.25, dtype=dtype), **options)
    x0 = torch.zeros(3, 20)
    want = by_number.sample(x0, 2, rng=eff.Key(6))
    assert_same_bits(by_tensor.sample(x0, 2, rng=eff.Key(6)), want)
    assert (want != 0).all()


def test_step_sizes_of_16_bits_scale_the_noise_as_numbers_do():
    step_size = torch.full((3,), 0.073, dtype=torch.bfloat16)
    options = {"score": torch.zeros_like, "temperature": 0.999}
    by_number = eff.Langevin(step_size=float(step_size[0]), **options)
    x0 = torch.zeros(3, 20)
    want = by_number.sample(x0, 2, rng=eff.Key(6))
    got = eff.Langevin(step_size=step_size, **options).sample(x0, 2, rng=eff.Key(6))
    assert_same_bits(got, want)


def test_swapped_temperatures_are_read_at_every_step():
    temperature = torch.tensor([0.0, 1.0])
    sampler = eff.Langevin(score=torch.zeros_like, step_size=0.1, temperature=temperature)
    state = sampler.init(torch.zeros(2, 50), rng=eff.Key(3))
    sampler.advance_(state, 2)
    assert state.x.abs().sum(1).sign().tolist() == [0, 1]
    temperature.copy_(temperature.flip(0))
    before = state.x.clone()
    sampler.advance_(state, 2)
    assert (state.x - before).abs().sum(1).sign().tolist() == [1, 0]


def test_packed_trajectories_keep_the_temperatures():
    sampler = eff.Langevin(energy, step_size=0.1, temperature=LADDER, compressor=eff.BlockSign(4))
    dense = sampler.run(normal(5, 8), 4, rng=eff.Key(4))
    packed = sampler.run(normal(5, 8), 4, trajectory="packed", rng=eff.Key(4))
    assert_same_bits(packed.trajectory.replay(), dense.trajectory)


def test_the_virial_is_one_at_every_temperature():
    temperature = torch.tensor([0.25, 4.0]).repeat(3000)
    sampler = eff.Langevin(energy, step_size=0.01, temperature=temperature, statistics=True)
    state = sampler.init(normal(6000, 6) * temperature.sqrt()[:, None], rng=eff.Key(5))
    virial = sampler.advance_(state).virial.view(3000, 2).mean(0)
    assert ((virial - 1).abs() < 4 * (2 / 6 / 3000) ** 0.5).all()


@pytest.mark.parametrize(
    ("temperature", "error", "message"),
    [
        (torch.tensor([1, 2]), TypeError, r"temperature: expected .* of floats, got torch.int64"),
        (torch.ones(2, 2), ValueError, r"tensor \(n_chains,\), got shape \(2, 2\)"),
        (torch.tensor([1.0, -1.0]), ValueError, "temperature: expected finite numbers >= 0"),
        (torch.tensor([1.0, torch.nan]), ValueError, "temperature: expected finite numbers >= 0"),
        ("hot", TypeError, r"temperature: expected a number or a tensor \(n_chains,\), got str"),
        (-1, ValueError, "temperature: expected a finite number >= 0, got -1"),
    ],
)
def test_wrong_temperatures_are_named(temperature, error, message):
    with pytest.raises(error, match=message):
        eff.Langevin(energy, step_size=0.1, temperature=temperature)


@pytest.mark.parametrize("shards", [1, 2])
def test_a_ladder_for_other_chains_is_refused(shards):
    sampler = eff.Langevin(energy, step_size=0.1, temperature=LADDER, shards=shards)
    with pytest.raises(ValueError, match=r"temperature: expected .*\(4,\), got shape \(5,\)"):
        sampler.sample(normal(4, 3), 2)
    with pytest.raises(ValueError, match="temperature: expected"):
        sampler.run(normal(4, 3), 2)


def test_buffers_and_weights_refuse_a_temperature_per_chain():
    sampler = eff.Langevin(energy, step_size=0.1, temperature=torch.ones(4))
    with pytest.raises(ValueError, match="sampler: expected one temperature with a buffer"):
        ReplayBuffer(sampler, normal(4, 2), n_chains=2, generator=torch.Generator())
    with pytest.raises(ValueError, match="expected temperature 1, got one for each chain"):
        WeightedWalkers(sampler, normal(4, 2), torch.zeros(4), rng=eff.Key(1))
