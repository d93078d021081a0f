"""Packed trajectories replay to the bit; what samplers tell of their steps."""

import pytest
import torch
from helpers import DTYPES, assert_same_bits

import effebm_ext as eff

STEPS = 6


def energy(x):
    return (x**4 / 4 + x.roll(1, dims=-1) * x).flatten(1).sum(1)


def start(dtype=torch.float32, d=(3, 11)):
    return torch.randn(4, *d, generator=torch.Generator().manual_seed(0)).to(dtype)


def states(sampler, x0, thin):
    """The states after every ``thin`` steps."""
    state = sampler.init(x0, rng=eff.Key(5))
    kept = []
    for _ in range(STEPS // thin):
        sampler.advance_(state, thin)
        kept.append(state.x.clone())
    return torch.stack(kept)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "compressor",
    [eff.TopK(5), eff.BlockSign(4), eff.BlockSign(block_offsets=[0, 1, 20, 33])],
    ids=str,
)
@pytest.mark.parametrize("error_feedback", [False, True])
def test_a_packed_trajectory_replays_to_the_bit(dtype, compressor, error_feedback):
    options = [
        {"step_size": 0.1},
        {"step_size": lambda step: 0.1 / (1 + step), "bounds": (-0.7, 1.1)},
        {"step_size": torch.tensor([0.01, 0.1, 0.2, 0.3]), "bounds": eff.Reflect(-0.7, 1.1)},
        {"step_size": 0.1, "temperature": 0.3, "clip": eff.ClipValue(0.5)},
        {"step_size": 0.1, "temperature": 0.0, "clip": eff.ClipNorm(2.0)},
    ]
    for option in options:
        sampler = eff.Langevin(
            energy, compressor=compressor, error_feedback=error_feedback, **option
        )
        for thin in (1, 4):
            runs = [
                sampler.run(start(dtype), STEPS, thin=thin, trajectory=kind, rng=eff.Key(5))
                for kind in ("dense", "packed")
            ]
            replayed = runs[1].trajectory.replay()
            assert len(runs[1].trajectory) == STEPS // thin
            assert_same_bits(replayed, states(sampler, start(dtype), thin))
            if not error_feedback:  # whose samples are not the states
                assert_same_bits(replayed, runs[0].trajectory)
            assert_same_bits(runs[1].x, runs[0].x)
            assert torch.equal(runs[1].info.energy, runs[0].info.energy)


def test_a_trajectory_of_no_steps_is_empty():
    sampler = eff.Langevin(energy, step_size=0.1, compressor=eff.TopK(2))
    for kind in ("dense", "packed"):
        run = sampler.run(start(), 0, trajectory=kind)
        assert len(run.trajectory) == 0
        assert run.info.energy is None
    assert run.trajectory.replay().shape == (0, 4, 3, 11)


@pytest.mark.parametrize(
    ("compressor", "bytes_per_element"),
    [
        (eff.BlockSign(64), 1 / 8 + 4 / 64),
        (eff.BlockSign(3072), 1 / 8 + 4 / 3072),
        (eff.TopK(ratio=0.1), 0.1 * (4 + 2)),
        (eff.TopK(ratio=0.01), 0.01 * (4 + 2)),
    ],
    ids=str,
)
def test_the_memory_of_a_step_is_that_of_its_packed_drift(compressor, bytes_per_element):
    sampler = eff.Langevin(energy, step_size=0.01, compressor=compressor)
    x0 = start(d=(3, 32, 32))
    stored = sampler.run(x0, 20, trajectory="packed").trajectory
    per_step = (stored.nbytes - x0.nbytes) / 20 / x0.numel()
    assert per_step == pytest.approx(bytes_per_element, rel=0.01)


def test_what_cannot_be_packed_is_refused():
    sampler = eff.Langevin(energy, step_size=0.1)
    with pytest.raises(ValueError, match=r"trajectory: expected a compressor.* got None"):
        sampler.run(start(), 3, trajectory="packed")
    with pytest.raises(ValueError, match="trajectory: expected 'dense' or 'packed', got 'thin'"):
        sampler.run(start(), 3, trajectory="thin")


@pytest.mark.parametrize("trajectory", ["dense", "packed"])
@pytest.mark.parametrize("clip", [None, eff.ClipValue(0.5), eff.ClipNorm(3.0)], ids=str)
def test_statistics_are_of_the_gradient_before_it_is_clipped(trajectory, clip):
    options = {"step_size": 0.1, "compressor": eff.BlockSign(4), "clip": clip}
    sampler = eff.Langevin(energy, statistics=True, **options)
    info = sampler.run(start(), STEPS, trajectory=trajectory, rng=eff.Key(2)).info
    states = [start(), *eff.Langevin(energy, **options).run(start(), STEPS, rng=eff.Key(2))[1]]
    for step in range(STEPS):
        x = states[step].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(energy(x).sum(), x)
        norm = gradient.flatten(1).norm(dim=1)
        torch.testing.assert_close(info.grad_norm[step], norm)
        clipped = torch.zeros(4)
        if isinstance(clip, eff.ClipValue):
            clipped = (gradient.abs() > clip.limit).flatten(1).float().mean(1)
        elif clip is not None:
            clipped = (norm > clip.limit).float()
        torch.testing.assert_close(info.fraction_clipped[step], clipped)
    assert eff.Langevin(energy, **options).run(start(), 2).info.grad_norm is None
