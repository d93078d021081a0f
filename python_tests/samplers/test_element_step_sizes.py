"""Langevin chains whose elements have step sizes of their own."""

import pytest
import torch
from helpers import assert_same_bits, normal

import effebm_ext as eff

KEY = eff.Key(3)
CURVATURES = torch.tensor([[1.0, 100.0, 10_000.0, 4.0]], dtype=torch.float64)


def energy(x):
    return (CURVATURES.to(x.dtype) * x.square()).sum(1) / 2


def test_a_preconditioned_chain_is_a_chain_in_other_units():
    """x = s y with the step size gamma s^2 is y with gamma."""
    scale = CURVATURES.rsqrt()
    y0 = normal(6, 4, dtype=torch.float64)
    chain = eff.Langevin(energy, step_size=0.5 * scale**2)
    plain = eff.Langevin(lambda y: energy(scale * y), step_size=0.5)
    got = chain.sample(scale * y0, 20, rng=KEY) / scale
    torch.testing.assert_close(got, plain.sample(y0, 20, rng=KEY), rtol=1e-11, atol=1e-12)


def test_all_directions_mix_at_once():
    sampler = eff.Langevin(energy, step_size=0.5 / CURVATURES)
    x = sampler.sample(torch.zeros(4000, 4, dtype=torch.float64), 40, rng=KEY)
    relative = (CURVATURES * x.square()).mean(0)
    torch.testing.assert_close(
        relative, torch.full((4,), 1 / (1 - 0.125), dtype=torch.float64), rtol=0.1, atol=0
    )


def test_masked_elements_rest_while_others_follow_them():
    """Inpainting: the conditional law given the elements that are known."""

    def coupled(x):
        return (x.square().sum(1) - 1.6 * x[:, 0] * x[:, 1]) / 2

    x0 = torch.tensor([2.0, 0.0]).repeat(4000, 1)
    x = eff.Langevin(coupled, step_size=torch.tensor([[0.0, 0.1]])).sample(x0, 200, rng=KEY)
    assert (x[:, 0] == 2).all()
    assert x[:, 1].mean() == pytest.approx(1.6, abs=0.08)
    assert x[:, 1].var() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("rows", [1, 6])
def test_shards_take_their_rows(rows):
    step_size = normal(rows, 4, seed=2).abs() / 1e4
    temperature = torch.linspace(0.5, 2, 6)
    x0, states = normal(6, 4), []
    for shards in (1, 3):
        sampler = eff.Langevin(energy, step_size=step_size, temperature=temperature, shards=shards)
        states.append(sampler.sample(x0, 5, rng=KEY))
    assert_same_bits(*states)
    noise_std = (step_size * temperature[:, None]).sqrt()
    by_hand = x0.clone()
    for step in range(5):
        grad = CURVATURES.float() * by_hand
        eff.langevin_step_(by_hand, grad, step_size, noise_std=noise_std, rng=KEY.at(step))
    torch.testing.assert_close(states[0], by_hand)


def test_samples_half_way_use_the_step_of_each_element():
    sampler = eff.Langevin(
        energy,
        step_size=1 / CURVATURES.float(),
        compressor=eff.TopK(1),
        error_feedback=True,
    )
    state = sampler.init(normal(6, 4), rng=KEY)
    sampler.advance_(state, 3)
    want = state.x - state.residual / CURVATURES.float() / 4
    torch.testing.assert_close(sampler.samples(state), want)


def test_a_packed_trajectory_keeps_them():
    options = {"step_size": 0.1 / CURVATURES.float(), "compressor": eff.TopK(2)}
    runs = [
        eff.Langevin(energy, **options).run(normal(6, 4), 6, trajectory=kind, rng=KEY)
        for kind in ("dense", "packed")
    ]
    assert_same_bits(runs[1].trajectory.replay(), runs[0].trajectory)


@pytest.mark.parametrize(
    ("step_size", "message"),
    [
        (torch.tensor([[-1.0, 1, 1, 1]]), "step_size: expected positive numbers"),
        (torch.tensor([[torch.inf, 1, 1, 1]]), "step_size: expected positive numbers"),
        (torch.ones(2, 4), "step_size: expected a number or a tensor of shape"),
        (torch.ones(1, 3), "step_size: expected a number or a tensor of shape"),
    ],
)
def test_what_is_refused(step_size, message):
    with pytest.raises(ValueError, match=message):
        eff.Langevin(energy, step_size=step_size).sample(normal(6, 4), 1, rng=KEY)


def test_adjusted_chains_refuse_them():
    with pytest.raises(TypeError, match="step_size: expected a number or a function"):
        eff.MALA(energy, step_size=torch.ones(1, 4))
