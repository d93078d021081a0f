"""The sampler for torchebm beside torchebm's own: the same chains, shapes and errors."""

import math

import pytest
import torch
from helpers import assert_same_bits, normal
from scipy.stats import ks_2samp
from torch import nn
from torchebm.core import (
    BaseModel,
    ConstantScheduler,
    CosineScheduler,
    ExponentialDecayScheduler,
)
from torchebm.core.base_trainer import BaseTrainer
from torchebm.losses import ContrastiveDivergence, PersistentContrastiveDivergence
from torchebm.samplers import LangevinDynamics as Theirs

import effebm_ext as eff
from effebm_ext.integrations.torchebm import LangevinDynamics as Ours

NOISELESS = ConstantScheduler(0.0)


class Quartic(BaseModel):
    """Sums of quartics, tilted by a label if there is one."""

    def forward(self, x, y=None):
        tilt = 0 if y is None else y.reshape(-1, *[1] * (x.dim() - 1))
        return (x.square().square() / 4 - tilt * x).flatten(1).sum(1)


class Network(BaseModel):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, x):
        return self.net(x).squeeze(1)


def both(model, x, options, **call):
    """What theirs and ours return."""
    return [kind(model, **options).sample(x=x, **call) for kind in (Theirs, Ours)]


@pytest.mark.parametrize("clamp", [None, (-0.4, 0.7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_noise_trajectories_are_theirs(dtype, clamp):
    step_size = CosineScheduler(0.05, 0.001, n_steps=20)
    options = {"step_size": step_size, "noise_scale": NOISELESS, "clamp": clamp, "dtype": dtype}
    x = normal(8, 2, 3, dtype=dtype)
    call = {"n_steps": 30, "thin": 4, "return_trajectory": True, "return_diagnostics": True}
    (theirs, seen), (ours, found) = both(Quartic(), x, options, **call)
    assert ours.shape == theirs.shape == (8, 7, 2, 3)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    assert list(found) == list(seen) == ["mean", "var", "energy"]
    for name in seen:
        torch.testing.assert_close(found[name], seen[name], rtol=1e-5, atol=1e-7)
    call = {"n_steps": 30, "reset_schedulers": False}  # the schedule goes on from its end
    theirs, ours = both(Quartic(), x, options, **call)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_the_diagnostics_of_one_chain_are_theirs():
    call = {"n_steps": 3, "return_diagnostics": True}
    options = {"step_size": 0.1, "noise_scale": NOISELESS}
    (_, theirs), (_, ours) = both(Quartic(), normal(1, 4), options, **call)
    assert torch.equal(ours["var"], theirs["var"])  # zeros
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name])


def test_with_noise_the_law_is_theirs():
    options = {
        "step_size": ExponentialDecayScheduler(0.2, 0.9),
        "noise_scale": CosineScheduler(1.0, 0.3, n_steps=8),
        "clamp": (-0.9, 1.1),
    }
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    x = torch.full((400_000, 1), 0.5)
    theirs, ours = (
        kind(Quartic(), **options).sample(x=x, n_steps=8, generator=generator)
        for kind, generator in zip((Theirs, Ours), generators, strict=True)
    )
    assert ks_2samp(theirs[:, 0], ours[:, 0]).pvalue > 1e-3


def test_steps_are_those_of_the_op():
    x, h, model = normal(6, 5), 0.03, Quartic()
    sampler = Ours(model, step_size=h, noise_scale=0.7, clamp=(-1, 1), compressor=eff.TopK(2))
    found = sampler.sample(x=x, n_steps=4, generator=torch.Generator().manual_seed(3))
    rng, noise_std = torch.Generator().manual_seed(3), 0.7 * math.sqrt(2 * h)
    wanted = x.clone()
    for _ in range(4):
        options = {"noise_std": noise_std, "bounds": (-1, 1), "compressor": eff.TopK(2)}
        eff.langevin_step_(wanted, model.gradient(wanted), 2 * h, rng=rng, **options)
    assert_same_bits(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_error_feedback_is_that_of_our_sampler(dtype):
    x, options = normal(6, 5, dtype=dtype), {"compressor": eff.TopK(1), "error_feedback": True}
    sampler = Ours(Quartic(), 0.25, NOISELESS, clamp=(-1, 0.5), dtype=dtype, **options)
    found = sampler.sample(x=x, n_steps=7, return_trajectory=True)
    reference = eff.Langevin(Quartic(), step_size=0.5, temperature=0.0, bounds=(-1, 0.5), **options)
    wanted = reference.run(x, 7).trajectory.transpose(0, 1)
    torch.testing.assert_close(found, wanted, rtol=0.01 if dtype == torch.bfloat16 else 0, atol=0)
    assert torch.equal(sampler.sample(x=x, n_steps=7), found[:, -1])  # begins at no residual


def test_labels_reach_the_model():
    x, y = normal(8, 3), torch.arange(8) % 3
    options = {"step_size": 0.1, "noise_scale": NOISELESS}
    theirs, ours = both(Quartic(), x, options, n_steps=5, y=y)
    torch.testing.assert_close(ours, theirs)
    named = Ours(Quartic(), **options).sample(x=x, n_steps=5, model_kwargs={"y": y})
    assert torch.equal(named, ours)
    with pytest.raises(ValueError, match="model_kwargs"):
        Ours(Quartic(), **options).sample(x=x, y=y, model_kwargs={"y": y})


def test_starts_stay_and_generators_decide():
    x, sampler = normal(4, 3), Ours(Quartic(), step_size=0.1)
    before = x.clone()
    calls = [{"x": x}, {"dim": (2, 3), "n_samples": 5}]
    for call, shape in zip(calls, [(4, 3), (5, 2, 3)], strict=True):
        a, b, c = (
            sampler.sample(**call, n_steps=3, generator=torch.Generator().manual_seed(seed))
            for seed in (0, 0, 1)
        )
        assert a.shape == shape
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
    assert torch.equal(x, before)


@pytest.mark.parametrize("loss_of", [ContrastiveDivergence, PersistentContrastiveDivergence])
def test_losses_take_it(loss_of):
    model = Network()
    sampler = Ours(model, 0.01, compressor=eff.BlockSign(3), error_feedback=True)
    loss, negatives = loss_of(model, sampler, k_steps=3, buffer_size=32)(normal(16, 3))
    loss.backward()
    assert negatives.shape == (16, 3)
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_their_trainer_trains_with_it():
    torch.manual_seed(0)
    model = Network()
    sampler = Ours(model, step_size=0.05)
    of_batch = PersistentContrastiveDivergence(model, sampler, k_steps=5, buffer_size=256)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    # ContrastiveDivergenceTrainer of torchebm 0.8.9 cannot be made, with any sampler.
    trainer = BaseTrainer(model, optimizer, lambda *args, **kwargs: of_batch(*args, **kwargs)[0])
    data = torch.tensor([2.0, -2.0, 0.0]) + 0.1 * normal(512, 3)
    for _ in range(60):
        trainer.train_step(data[torch.randint(512, (64,))])
    with torch.no_grad():
        assert model(data).mean() < model(-data).mean() - 1


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="integrator: expected euler_maruyama"):
        Ours(Quartic(), integrator="heun")
    with pytest.raises(ValueError, match="error_feedback: expected a compressor with it"):
        Ours(Quartic(), error_feedback=True)
    with pytest.raises(ValueError, match="error_feedback: expected a compressor whose error"):
        Ours(Quartic(), compressor=eff.RandomK(2), error_feedback=True)
    with pytest.raises(ValueError, match="thin must be >= 1, got 0"):
        Ours(Quartic()).sample(dim=2, thin=0)
    with pytest.raises(ValueError, match="step_size must be positive"):
        Ours(Quartic(), step_size=0.0)
