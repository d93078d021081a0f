"""Samples of chains with error feedback: half of what the chain has yet to follow is taken off."""

import pytest
import torch
from helpers import DTYPES, normal

import effebm_ext as eff
from effebm_ext.chains.intermittent import IntermittentChains
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.energies import energies_at
from effebm_ext.objectives import Contrastive

TOPK, SIGNS = eff.TopK(ratio=0.1), eff.BlockSign(64)


def sampler_of(step_size=0.1, compressor=TOPK, **options):
    return eff.Langevin(
        score=torch.neg,
        step_size=step_size,
        compressor=compressor,
        error_feedback=True,
        **options,
    )


def moved(sampler, x0, n_steps=5):
    state = sampler.init(x0, rng=eff.Key(1))
    sampler.advance_(state, n_steps)
    return state


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_quarter_step_along_the_residual_is_taken_off(dtype):
    sampler = sampler_of(0.1)
    state = moved(sampler, normal(3, 40, dtype=dtype))
    expected = state.x.double() - 0.1 / 4 * state.residual.double()
    assert state.residual.abs().sum() > 0
    assert sampler.samples(state).dtype == dtype
    torch.testing.assert_close(sampler.samples(state), expected.to(dtype))


def test_samples_leave_the_state_as_it_is():
    sampler = sampler_of()
    state = moved(sampler, normal(3, 40))
    before = state.clone()
    sampler.samples(state)
    assert torch.equal(state.x, before.x)
    assert torch.equal(state.residual, before.residual)


def test_samples_without_feedback_are_the_states():
    sampler = eff.Langevin(score=torch.neg, step_size=0.1, compressor=TOPK)
    state = moved(sampler, normal(3, 40))
    assert sampler.samples(state) is state.x


def test_step_sizes_per_chain_go_with_their_chains():
    steps = torch.tensor([0.1, 0.2, 0.3])
    sampler = sampler_of(steps)
    state = moved(sampler, normal(3, 40))
    expected = state.x - steps[:, None] / 4 * state.residual
    torch.testing.assert_close(sampler.samples(state), expected)


def test_a_schedule_gives_the_step_size_of_the_last_step():
    sizes = [0.1, 0.2, 0.3]
    sampler = sampler_of(sizes.__getitem__)
    state = sampler.init(normal(3, 40), rng=eff.Key(1))
    assert torch.equal(sampler.samples(state), state.x)  # the residual is zero
    sampler.advance_(state, 3)
    expected = state.x - 0.3 / 4 * state.residual
    torch.testing.assert_close(sampler.samples(state), expected)


@pytest.mark.parametrize("bounds", [(-0.2, 0.3), eff.Reflect(-0.2, 0.3)], ids=["clamp", "reflect"])
def test_samples_stay_within_the_bounds(bounds):
    sampler = sampler_of(1.0, bounds=bounds)
    state = moved(sampler, normal(20, 40))
    free = state.x - 1.0 / 4 * state.residual
    assert free.max() > 0.3
    samples = sampler.samples(state)
    assert samples.min() >= -0.2
    assert samples.max() <= 0.3


def test_sample_and_run_give_samples():
    sampler, x0 = sampler_of(), normal(3, 40)
    samples = sampler.samples(moved(sampler, x0, 6))
    assert torch.equal(sampler.sample(x0, 6, rng=eff.Key(1)), samples)
    run = sampler.run(x0, 6, thin=2, rng=eff.Key(1))
    assert torch.equal(run.x, samples)
    assert torch.equal(run.trajectory[-1], samples)
    first = sampler.samples(moved(sampler, x0, 2))
    assert torch.equal(run.trajectory[0], first)


@pytest.mark.parametrize(
    ("compressor", "step_size", "of_states", "of_samples"),
    [(TOPK, 0.02, 1.030, 1.0065), (TOPK, 0.2, 1.273, 1.087), (SIGNS, 0.2, 1.182, 1.084)],
    ids=["top-k", "top-k, large step", "block-sign"],
)
def test_variances_of_standard_normal_chains(compressor, step_size, of_states, of_samples):
    """Samples have about the bias of a chain that is not compressed, 1 / (1 - step_size / 4)."""
    sampler = sampler_of(step_size, compressor)
    state = sampler.init(normal(64, 512), rng=eff.Key(3))
    sampler.advance_(state, round(8 / step_size))
    sums, n = torch.zeros(2, dtype=torch.float64), 40
    for _ in range(n):
        sampler.advance_(state, round(0.6 / step_size))
        sums += torch.stack([state.x.double().var(), sampler.samples(state).double().var()])
    states, samples = sums / n
    assert abs(states - of_states) < 0.012
    assert abs(samples - of_samples) < 0.012


def test_no_direction_of_a_gaussian_is_left_out():
    """In a random basis, with precisions from 1 to 32. The states of the stiffest quarter are off
    by a tenth; samples, with averaged noise, are right in every quarter."""
    d = 64
    precision = torch.logspace(0, 1.5, d)
    basis = torch.linalg.qr(normal(d, d, seed=9)).Q
    hessian = basis * precision @ basis.T
    sampler = eff.Langevin(
        score=lambda x: -x @ hessian,
        step_size=0.003,
        compressor=TOPK,
        error_feedback=True,
        averaged_noise=True,
    )
    state = sampler.init(normal(400, d) / precision.sqrt() @ basis.T, rng=eff.Key(0))
    sums, n = torch.zeros(2, d), 60
    for _ in range(n):
        sampler.advance_(state, 20)
        for at, x in enumerate((state.x, sampler.samples(state))):
            sums[at] += (x @ basis).square().mean(0) * precision / n
    states, samples = sums.unflatten(1, (4, d // 4)).mean(2)
    assert states[-1] > 1.05
    assert ((samples - 1).abs() < torch.tensor([0.06, 0.04, 0.02, 0.01])).all()


def energy(x):
    return x.square().flatten(1).sum(1)


def chains_of(kind):
    sampler = eff.Langevin(energy, step_size=0.1, compressor=TOPK, error_feedback=True)
    if kind == "buffer":
        return ReplayBuffer(
            sampler, normal(8, 40), n_chains=4, generator=torch.Generator(), rng=eff.Key(2)
        )
    chains = PersistentChains(sampler, normal(4, 40), rng=eff.Key(2))
    return IntermittentChains(chains, 1) if kind == "intermittent" else chains


@pytest.mark.parametrize("kind", ["persistent", "buffer", "intermittent"])
def test_chains_of_training_give_samples(kind):
    chains = chains_of(kind)
    chains.advance(3)
    expected = chains.sampler.samples(chains.state)
    assert torch.equal(chains.samples, expected)
    assert not torch.equal(chains.samples, chains.state.x)


def test_contrastive_training_compares_data_with_samples():
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(1.5))

        def forward(self, x):
            return self.scale * energy(x)

    model = Scaled()
    chains = PersistentChains(
        eff.Langevin(model, step_size=0.1, compressor=TOPK, error_feedback=True),
        normal(4, 40),
        rng=eff.Key(2),
    )
    objective = Contrastive(model, chains, langevin_steps=3)
    objective.advance()
    seen = objective.loss(normal(4, 40), {}).metrics["sample_energy"]
    assert torch.equal(seen, energies_at(model, chains.samples, {}).mean().detach())
