"""Chains whose steps are CUDA graphs: they have the bits of chains that are not captured.

Without a GPU the calls of torch's functions are recorded and repeated (recorded_graphs.py). On the
CPU there is nothing to capture."""

import math
import warnings

import pytest
import torch
from captured_pairs import (
    EF,
    KEY,
    assert_same_chains,
    assert_same_info,
    assert_same_state,
    assert_taken,
    harmonic,
    network,
    pair,
    quadratic,
)
from helpers import assert_same_bits, normal

import effebm_ext as eff
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.restart import Restart
from effebm_ext.energies import NonFiniteError, score_of
from effebm_ext.ops.uniforms import uniforms
from effebm_ext.rng import ACCEPTANCE, DeviceKey

pytestmark = pytest.mark.usefixtures("captures")


OPTIONS = {
    "plain": {},
    "feedback": EF,
    "random": {"compressor": eff.RandomK(2), "error_feedback": False},
    "statistics": {"statistics": True, "clip": eff.ClipNorm(0.5), "temperature": 0.3},
    "no noise": {"temperature": 0.0, "bounds": (-1, 1)},
    "function": {"compressor": torch.tanh, "error_feedback": True},
    "schedule": {"step_size": harmonic},
    "schedule, temperature": {"step_size": harmonic, "temperature": 0.3},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_captured_chains_have_the_same_bits(device, options, dtype):
    x0 = normal(5, 4, dtype=dtype, device=device)
    assert_same_chains(pair(**options), x0)


def test_networks_and_labels(device):
    kwargs = {"y": torch.tensor([0, 2, 1, 0, 2], device=device)}
    samplers = pair(network(device, 3), **EF)
    assert_same_chains(samplers, normal(5, 4, device=device), energy_kwargs=kwargs)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_step_sizes_that_are_tensors(device, temperature, dtype):
    sizes = torch.linspace(0.01, 0.1, 5, dtype=dtype).to(device)
    schedules = [
        lambda step: sizes / (step + 1),
        lambda step: sizes[step % 5] if step % 3 else 0.1,  # one for all chains, or a number
        lambda step: sizes if step % 3 else sizes[0],  # of two shapes
    ]
    for step_size in (sizes, sizes[2], *schedules):
        samplers = pair(step_size=step_size, temperature=temperature)
        assert_same_chains(samplers, normal(5, 4, device=device))


def test_a_schedule_may_write_its_tensor(device):
    def schedule(step):
        return value.fill_(0.1 / (step + 1))

    value = torch.zeros((), device=device)
    assert_same_chains(pair(step_size=schedule), normal(5, 4, device=device))


def test_a_tensor_is_read_where_it_is(device, captures):
    for size in (torch.full((), 0.1, device=device), torch.full((5,), 0.1, device=device)):
        samplers = pair(step_size=size, temperature=0.5)
        states = [s.init(normal(5, 4, device=device), rng=KEY) for s in samplers]
        captures.clear()
        for _ in range(3):
            for sampler, state in zip(samplers, states, strict=True):
                sampler.advance_(state, 4)
            assert_same_state(*states)
            size.mul_(0.5)
        assert len(captures) == (device.type == "cuda")


def test_a_score_is_captured(device):
    net = network(device)
    scores = [lambda x: -x, score_of(net)]  # the second one needs autograd
    for score in scores:
        samplers = pair(None, score=score, statistics=True)
        assert_same_chains(samplers, normal(5, 4, device=device))


def test_a_key_on_the_device_goes_on_in_its_stream(device):
    x = torch.zeros(4, 9, device=device)
    moving = DeviceKey(device, first_chain=11)
    for seed in (3, 2**64 - 1):
        key = eff.Key(seed, offset=2**40, first_chain=11)
        moving.put_(key)
        moving.advance_(5)
        for step in (0, 3):
            for compressor in (None, eff.RandomK(3)):
                options = {"compressor": compressor}
                got = eff.langevin_step(x, x + 1, 0.1, rng=moving.at(step), **options)
                want = eff.langevin_step(x, x + 1, 0.1, rng=key.at(5 + step), **options)
                assert_same_bits(got, want)
            got = uniforms(moving.at(step), 4, ACCEPTANCE, like=x)
            assert_same_bits(got, uniforms(key.at(5 + step), 4, ACCEPTANCE, like=x))


def test_graphs_are_captured_once_per_shape(device, captures):
    sampler = pair(network(device))[1]
    for n_chains in (3, 5, 3):
        for n_steps in (5, 85, 9):
            sampler.sample(normal(n_chains, 4, device=device), n_steps, rng=KEY)
    lengths = sorted(function.args[1] for function in captures)
    assert lengths == ([1, 1, 4, 4, 16, 16, 64, 64] if device.type == "cuda" else [])


def test_keys_seeds_and_steps_need_no_other_graph(device, captures):
    one, many = pair()
    x0 = normal(5, 4, device=device)
    for key in (eff.Key(1), eff.Key(2**64 - 1, 2**40), eff.Key(-3, 5)):
        assert_same_bits(many.sample(x0, 8, rng=key), one.sample(x0, 8, rng=key))
    assert len(captures) == (device.type == "cuda")
    key = eff.Key(1, first_chain=3)  # which is a number of Python's
    assert_same_bits(many.sample(x0, 8, rng=key), one.sample(x0, 8, rng=key))


def test_chains_alternate_between_programs(device):
    samplers = pair(**EF)
    starts = [normal(n, 4, device=device) for n in (3, 5)]
    states = [[s.init(x0, rng=KEY) for s in samplers] for x0 in starts]
    for _ in range(3):
        for both in states:
            for sampler, state in zip(samplers, both, strict=True):
                sampler.advance_(state, 5)
            assert_same_state(*both)


def test_the_programs_that_were_used_last_are_kept(device, captures):
    sampler = pair()[1]
    for n_chains in range(1, 13):
        for n in (1, n_chains):
            sampler.sample(normal(n, 2, device=device), 1, rng=KEY)
    n_programs, n_captures = (8, 12) if device.type == "cuda" else (0, 0)
    assert len(sampler.captured._programs) == n_programs
    assert len(captures) == n_captures
    assert_same_chains([pair()[0], sampler], normal(2, 2, device=device))


@pytest.mark.parametrize("thin", [1, 4])
def test_runs_and_samples(device, thin):
    x0 = normal(5, 4, device=device)
    one, many = pair(statistics=True, **EF)
    assert_same_bits(many.sample(x0, 9, rng=KEY), one.sample(x0, 9, rng=KEY))
    want, got = (s.run(x0, 9, thin=thin, rng=KEY) for s in (one, many))
    assert_same_bits(got.trajectory, want.trajectory)
    assert_same_bits(got.x, want.x)
    assert_same_info(got.info, want.info)
    assert_taken(many, device)


def test_packed_trajectories_are_not_captured(device, captures):
    x0 = normal(5, 4, device=device)
    one, many = pair(compressor=eff.BlockSign(2))
    want, got = (s.run(x0, 6, trajectory="packed", rng=KEY) for s in (one, many))
    assert_same_bits(got.x, want.x)
    assert_same_bits(got.trajectory.replay(), want.trajectory.replay())
    assert captures == []


def test_infos_and_states_are_the_callers(device):
    sampler = pair(statistics=True)[1]
    state = sampler.init(normal(5, 4, device=device), rng=KEY)
    info = sampler.advance_(state, 4)
    before = [t.clone() for t in (state.x, info.energy, info.grad_norm, info.diverged)]
    sampler.advance_(state.clone(), 4)
    for now, was in zip((state.x, info.energy, info.grad_norm, info.diverged), before, strict=True):
        assert_same_bits(now.float(), was.float())


def wall(x):
    """Infinite to the left of 0."""
    return torch.where(x[:, 0] > 0, quadratic(x), math.inf)


def near_the_wall(device):
    x0 = normal(6, 2, device=device)
    x0[:, 0] = torch.linspace(0.05, 2, 6, device=device)
    return x0


def test_chains_that_diverge_restart_in_the_graph(device):
    samplers = pair(wall, on_divergence="restart", step_size=0.2, **EF)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for scale in (1, 2):  # the same graphs send chains back to other starts
            assert_same_chains(samplers, scale * near_the_wall(device), calls=(64, 20, 5))
    texts = [str(w.message) for w in seen]
    assert len(texts) == 2  # one of each sampler
    assert texts[0] == texts[1]
    assert "chains diverged in steps 0 to 63" in texts[0]


@pytest.mark.parametrize("thin", [4, 6])
def test_divergence_is_reported_by_windows(device, thin):
    seen = []
    for sampler in pair(wall, step_size=0.2):
        with pytest.warns(RuntimeWarning, match="chains diverged") as warned:
            info = sampler.run(near_the_wall(device), 30, thin=thin, rng=KEY).info
        seen.append((info.diverged.tolist(), str(warned[0].message)))
        assert 0 < int(info.diverged.sum()) < info.diverged.numel()
    assert seen[1] == seen[0]


def test_divergence_raises_with_its_steps(device):
    seen = []
    for sampler in pair(wall, step_size=0.2, on_divergence="raise"):
        state = sampler.init(near_the_wall(device), rng=KEY)
        with pytest.raises(NonFiniteError, match="chains diverged") as error:
            sampler.advance_(state, 70)
        seen.append(str(error.value))
    assert seen[1] == seen[0]


def test_replay_buffers_restart_chains_between_calls(device):
    energy, buffers = network(device, 3), []
    for sampler in pair(energy, **EF):
        generator = torch.Generator().manual_seed(1)
        restart = Restart(
            0.5,
            lambda n, y, g=generator: torch.randn(n, 4, generator=g) + y[:, None],
            generator,
            lambda n, g=generator: {"y": torch.randint(3, (n,), generator=g)},
        )
        buffers.append(ReplayBuffer(
            sampler, normal(12, 4, device=device), n_chains=5, generator=generator, rng=KEY,
            restart=restart, energy_kwargs={"y": torch.arange(12, device=device) % 3},
        ))  # fmt: skip
    for _ in range(4):
        infos = [buffer.advance(6) for buffer in buffers]
        assert_same_info(*infos)
        assert_same_state(buffers[1].buffer, buffers[0].buffer)
        assert_same_bits(buffers[1].state.energy_kwargs["y"], buffers[0].state.energy_kwargs["y"])
    assert_taken(buffers[1].sampler, device)
