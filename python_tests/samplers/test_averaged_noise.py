"""Langevin steps that share noise with the next step (Leimkuhler and Matthews 2013)."""

import pytest
import torch
from helpers import DTYPES, normal

import effebm_ext as eff
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.reference import fma, normals
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.methods.setting import langevin
from effebm_ext.samplers import LangevinState


def second_moment(precision, step_size, n_steps, **options):
    """The mean of precision * x^2 over chains that start from the target, and its error."""
    sampler = eff.Langevin(
        score=lambda x: -precision * x, step_size=step_size, averaged_noise=True, **options
    )
    x = sampler.sample(normal(20_000, 1) / precision**0.5, n_steps, rng=eff.Key(5))
    values = precision * x.double().square()
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


@pytest.mark.parametrize(("precision", "step_size"), [(1.0, 1.0), (4.0, 0.4), (0.5, 3.0)])
def test_gaussians_have_no_bias_of_the_step_size(precision, step_size):
    mean, error = second_moment(precision, step_size, 40)
    assert abs(mean - 1) < 4 * error
    plain = 1 / (1 - step_size * precision / 4)
    assert plain - mean > 10 * error  # so much would a chain without it be off


def test_temperature_scales_the_shared_noise():
    mean, error = second_moment(1.0, 1.0, 40, temperature=0.25)
    assert abs(mean - 0.25) < 4 * error


def test_a_quartic_has_a_bias_of_second_order_only():
    """For E = x^4 / 4, mean x^4 is 1."""
    found = {}
    for averaged in (False, True):
        sampler = eff.Langevin(score=lambda x: -(x**3), step_size=0.2, averaged_noise=averaged)
        run = sampler.run(normal(5000, 1).clamp(-2, 2), 400, thin=4, rng=eff.Key(2))
        found[averaged] = float(run.trajectory[20:].double().pow(4).mean())
    assert abs(found[True] - 1) < 0.03 < 0.1 < abs(found[False] - 1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_step_adds_half_of_both_noises(dtype):
    x, zero = normal(3, 70, dtype=dtype), torch.zeros(3, 70, dtype=dtype)
    out = eff.langevin_step(x, zero, 0.3, averaged_noise=True, rng=eff.Key(3, 8, 2))
    noise = normals(3, 70, 3, 8, 2) + normals(3, 70, 3, 9, 2)
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    std = torch.tensor(0.3, dtype=compute).sqrt() * 0.5
    torch.testing.assert_close(out, fma(std, noise.to(compute), x.to(compute)).to(dtype))


def test_consecutive_steps_share_noise():
    x = torch.zeros(1, 100_000)
    moves = []
    for step in range(3):
        before = x.clone()
        eff.langevin_step_(
            x, torch.zeros_like(x), 1.0, averaged_noise=True, rng=eff.Key(4).at(step)
        )
        moves.append((x - before).double())
    error = 100_000**-0.5
    assert abs(moves[0].square().mean() - 0.5) < 4 * error
    assert abs((moves[0] * moves[1]).mean() - 0.25) < 4 * error
    assert abs((moves[0] * moves[2]).mean()) < 4 * error


def test_noise_wraps_after_the_last_offset():
    last = eff.Key(1, 2**56 - 1)
    x = torch.zeros(2, 8)
    out = eff.langevin_step(x, x, 4.0, averaged_noise=True, rng=last)
    noise = normals(2, 8, 1, 2**56 - 1, 0) + normals(2, 8, 1, 0, 0)
    assert torch.equal(out, noise)


@pytest.mark.parametrize("rng", [None, torch.Generator()], ids=["default", "generator"])
@pytest.mark.parametrize("op", [eff.langevin_step, eff.langevin_step_, eff.langevin_transition])
def test_a_generator_is_refused(op, rng):
    with pytest.raises(TypeError, match="rng: expected a Key with averaged_noise"):
        op(torch.zeros(2, 3), torch.zeros(2, 3), 0.1, averaged_noise=True, rng=rng)


@pytest.mark.parametrize("compressor", [eff.TopK(3), torch.sign], ids=["fused", "function"])
def test_all_ways_to_step_have_the_same_bits(compressor):
    x, grad, key = normal(4, 9), normal(4, 9, seed=1), eff.Key(7, 2)
    options = {"compressor": compressor, "averaged_noise": True, "rng": key}
    functional = eff.langevin_step(x, grad, 0.1, **options)
    assert not torch.equal(
        functional, eff.langevin_step(x, grad, 0.1, compressor=compressor, rng=key)
    )
    assert torch.equal(functional, eff.langevin_transition(x, grad, 0.1, **options).x)
    in_place = x.clone()
    eff.langevin_step_(in_place, grad, 0.1, **options)
    assert torch.equal(functional, in_place)


def test_runs_continue_and_split_to_the_same_bits():
    sampler = eff.Langevin(score=torch.neg, step_size=0.1, averaged_noise=True)
    x0 = normal(6, 5)
    whole = sampler.sample(x0, 8, rng=eff.Key(1))
    state = sampler.init(x0, rng=eff.Key(1))
    sampler.advance_(state, 3)
    again: LangevinState = sampler.init(x0, rng=eff.Key(0)).loaded(state.state_dict())
    sampler.advance_(again, 5)
    assert torch.equal(whole, again.x)
    shards = eff.Langevin(score=torch.neg, step_size=0.1, averaged_noise=True, shards=2)
    assert torch.equal(whole, shards.sample(x0, 8, rng=eff.Key(1)))


def test_packed_trajectories_share_noise():
    sampler = eff.Langevin(
        score=torch.neg, step_size=0.1, averaged_noise=True, compressor=eff.TopK(2)
    )
    dense = sampler.run(normal(4, 6), 5, rng=eff.Key(3))
    packed = sampler.run(normal(4, 6), 5, trajectory="packed", rng=eff.Key(3))
    assert torch.equal(dense.trajectory, packed.trajectory.replay())


def test_derivatives_do_not_see_the_noise():
    x = normal(2, 5).requires_grad_()
    eff.langevin_step(x, x.detach(), 0.1, averaged_noise=True, rng=eff.Key(1)).sum().backward()
    assert torch.equal(x.grad, torch.ones(2, 5))


def test_weights_and_buffers_refuse_shared_noise():
    def energy(x):
        return x.square().sum(1)

    sampler = eff.Langevin(energy, step_size=0.1, averaged_noise=True)
    with pytest.raises(ValueError, match="averaged_noise: expected none where steps are adjusted"):
        WeightedWalkers(sampler, normal(4, 2), torch.zeros(4), rng=eff.Key(1))
    with pytest.raises(ValueError, match="sampler: expected no averaged_noise with a buffer"):
        ReplayBuffer(sampler, normal(4, 2), n_chains=2, generator=torch.Generator())


def test_runs_take_shared_noise_where_chains_keep_their_rows():
    config = TrainConfig(averaged_noise=True).resolved("points")
    chains = langevin(config, torch.nn.Identity(), 0.1)
    assert chains.averaged_noise
    with pytest.raises(ValueError, match="averaged_noise: expected none with a replay buffer"):
        TrainConfig(averaged_noise=True, buffer_size=512)
    with pytest.raises(ValueError, match="averaged_noise: expected none with objective jarzynski"):
        TrainConfig(averaged_noise=True, objective="jarzynski")
