"""The sampler for ebmkit beside ebmkit's own: the same chains and shapes."""

import ebm
import pytest
import torch
from helpers import assert_same_bits, normal
from scipy.stats import ks_2samp
from torch import nn

import effebm_ext as eff
from effebm_ext.integrations.ebmkit import LangevinDynamics as Ours

Theirs = ebm.LangevinDynamics
IGEBM = {"step_size": 10.0, "noise_scale": 0.0, "grad_clip": 0.01, "clamp": (-1, 1)}
PLAIN = {"step_size": 0.05, "noise_scale": 0.0}


def quartic(x):
    return (x.square().square() / 4).flatten(1).sum(1)


def network():
    return ebm.EnergyModel(nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1)))


@pytest.mark.parametrize("options", [IGEBM, PLAIN], ids=["igebm", "plain"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_noise_trajectories_are_theirs(dtype, options):
    x = normal(8, 2, 3, dtype=dtype)
    theirs, ours = (
        kind(steps=9, **options).sample(quartic, x, return_trajectory=True)
        for kind in (Theirs, Ours)
    )
    assert ours.shape == theirs.shape == (10, 8, 2, 3)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    last = Ours(steps=2, **options).sample(quartic, x, steps=9)
    assert torch.equal(last, ours[-1])


@pytest.mark.parametrize(
    "options",
    [{"step_size": 0.1}, {**IGEBM, "noise_scale": 0.3}],
    ids=["by the step size", "by itself"],
)
def test_with_noise_the_law_is_theirs(options):
    x = torch.full((400_000, 1), 0.5)
    torch.manual_seed(0)
    theirs, ours = (kind(steps=6, **options).sample(quartic, x) for kind in (Theirs, Ours))
    assert ks_2samp(theirs[:, 0], ours[:, 0]).pvalue > 1e-3


def test_a_step_by_itself_leaves_its_chains():
    x, sampler = normal(5, 4), Ours(**PLAIN, compressor=eff.TopK(2))
    before = x.clone()
    moved = sampler.step(quartic, x)
    assert torch.equal(x, before)
    wanted = eff.langevin_step(x, x**3, 0.1, noise_std=0.0, compressor=eff.TopK(2))
    torch.testing.assert_close(moved, wanted)
    sampler.step_size = 0.0
    assert torch.equal(sampler.step(quartic, x), x)


def test_error_feedback_is_that_of_our_sampler():
    x, options = normal(6, 5), {"compressor": eff.BlockSign(5), "error_feedback": True}
    found = Ours(0.25, noise_scale=0.0, clamp=(-1, 0.5), **options)
    wanted = eff.Langevin(quartic, step_size=0.5, temperature=0.0, bounds=(-1, 0.5), **options)
    assert_same_bits(found.sample(quartic, x, steps=7), wanted.sample(x, 7))


def test_their_trainer_trains_with_it():
    torch.manual_seed(0)
    energy, buffer = network(), ebm.ReplayBuffer(256, (3,))
    loss = ebm.ContrastiveDivergence(Ours(0.05, steps=5), buffer)
    data = torch.tensor([2.0, -2.0, 0.0]) + 0.1 * normal(512, 3)
    trainer = ebm.Trainer(energy, loss, lr=0.01, device="cpu")
    trainer.fit(data, 60, 64, verbose=False)
    assert all(p.requires_grad for p in energy.parameters())
    with torch.no_grad():
        assert energy(data).mean() < energy(-data).mean() - 1


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="error_feedback: expected a compressor with it"):
        Ours(error_feedback=True)
    with pytest.raises(ValueError, match="error_feedback: expected False for steps by themselves"):
        Ours(compressor=eff.TopK(1), error_feedback=True).step(quartic, normal(2, 2))
    with pytest.raises(ValueError, match="limit"):
        Ours(grad_clip=0.0).step(quartic, normal(2, 2))
