"""Contrastive divergence with a denoising loss beside it."""

import pytest
import torch
from torch import nn

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.energies import score_of
from effebm_ext.losses import dsm
from effebm_ext.losses.contrastive import contrastive_divergence
from effebm_ext.networks import MLPEnergy
from effebm_ext.objectives import Contrastive
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import load
from effebm_ext.runs.trainer import make_trainer

KEY = eff.Key(5)
DATA = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))


def contrastive(energy, chains=DATA, **options):
    sampler = eff.Langevin(energy, step_size=0.1)
    chains = PersistentChains(sampler, chains, rng=eff.Key(0))
    options = {"langevin_steps": 2, "denoising": 0.25, "sigma": 0.5, "key": KEY, **options}
    return Contrastive(energy, chains, **options)


def test_the_loss_is_the_sum_of_both_at_the_same_noisy_data():
    torch.manual_seed(0)
    energy = MLPEnergy((3,), width=8)
    objective = contrastive(energy, energy_l2=0.1)
    objective.advance()
    value, metrics = objective.loss(DATA, {})
    rng = KEY.at(1)
    noisy = eff.langevin_step(DATA, torch.zeros_like(DATA), 0.0, noise_std=0.5, rng=rng)
    x = objective.chains.state.x
    first = contrastive_divergence(energy(noisy), energy(x), energy_l2=0.1).loss
    second = dsm(score_of(energy), DATA, 0.5, rng=rng).loss
    torch.testing.assert_close(value, first + 0.25 * second)
    torch.testing.assert_close(metrics["denoising_loss"], second.detach())
    torch.testing.assert_close(metrics["data_energy"], energy(noisy).detach().mean())
    parameters = list(energy.parameters())
    got = torch.autograd.grad(value, parameters)
    want = torch.autograd.grad(first + 0.25 * second, parameters)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


def test_chains_rest_while_the_loss_is_denoising_only():
    energy = MLPEnergy((3,), width=8)
    objective = contrastive(energy, warm_up=2)
    seen = set()
    for call in (1, 2):
        objective.advance()
        value, metrics = objective.loss(DATA, {})
        rng = KEY.at(call)
        torch.testing.assert_close(value, 0.25 * dsm(score_of(energy), DATA, 0.5, rng=rng).loss)
        assert set(metrics) == {"denoising_loss", "data_energy"}
        seen.add(float(metrics["data_energy"]))
    assert len(seen) == 2
    assert torch.equal(objective.chains.state.x, DATA)
    objective.advance()
    assert not torch.equal(objective.chains.state.x, DATA)
    assert "energy_gap" in objective.loss(DATA, {}).metrics


def test_a_warm_up_goes_on_where_it_was_saved():
    energy = MLPEnergy((3,), width=8)
    first, other = contrastive(energy, warm_up=3), contrastive(energy, warm_up=3)
    for _ in range(2):
        first.advance()
    other.chains.load_state_dict(first.chains.state_dict())
    for objective in (first, other):
        objective.advance()
        assert "energy_gap" not in objective.loss(DATA, {}).metrics
        objective.advance()
        assert "energy_gap" in objective.loss(DATA, {}).metrics
    assert torch.equal(first.chains.state.x, other.chains.state.x)


def test_every_iteration_has_noise_of_its_own():
    energy = MLPEnergy((3,), width=8)
    objective = contrastive(energy)
    seen = set()
    for _ in range(3):
        objective.advance()
        seen.add(float(objective.loss(DATA, {}).metrics["data_energy"]))
    assert len(seen) == 3


class Quadratic(nn.Module):
    """The energy ``precision * |x|^2 / 2``."""

    def __init__(self, precision):
        super().__init__()
        self.precision = nn.Parameter(torch.tensor(precision))

    def forward(self, x):
        return self.precision * x.square().sum(1) / 2


@pytest.mark.parametrize("denoising", [0.0, 1.0, 100.0])
def test_the_density_of_the_noisy_data_stays_the_minimum(denoising):
    generator = torch.Generator().manual_seed(2)
    data = torch.randn(200_000, 3, generator=generator)
    precision = 1 / (1 + 0.5**2)
    slopes = {}
    for factor in (0.9, 1.0, 1.1):
        energy = Quadratic(factor * precision)
        samples = torch.randn(200_000, 3, generator=generator) / (factor * precision) ** 0.5
        objective = contrastive(energy, samples, denoising=denoising)
        noisy = data
        if not denoising:
            noisy = data + 0.5 * torch.randn(data.shape, generator=generator)
        objective.langevin_steps = 0  # the chains stay samples
        objective.advance()
        value = objective.loss(noisy, {}).value
        (slope,) = torch.autograd.grad(value, energy.precision)
        slopes[factor] = float(slope)
    assert slopes[0.9] < 0 < slopes[1.1]
    assert abs(slopes[1.0]) < 0.2 * min(-slopes[0.9], slopes[1.1])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"denoising": -1.0}, ValueError, "denoising: expected a finite number >= 0, got -1"),
        ({"denoising": float("nan")}, ValueError, "denoising: expected a finite number >= 0"),
        ({"sigma": None}, TypeError, "sigma: expected a number"),
        ({"sigma": 0.0}, ValueError, "sigma: expected a positive finite number, got 0"),
        ({"key": None}, TypeError, "key: expected a Key with denoising, got None"),
        ({"warm_up": -1}, ValueError, "rest: expected at least 0, got -1"),
        ({"warm_up": 1.5}, TypeError, "warm_up: expected an int"),
        ({"warm_up": 1, "denoising": 0}, ValueError, "warm_up: expected 0 without a weight"),
    ],
)
def test_arguments_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        contrastive(MLPEnergy((3,), width=8), **options)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_noise_is_added_once(weight):
    config = TrainConfig(
        data="rings", data_noise=0.3, denoising_weight=weight, chains=4, iterations=2
    )
    trainer = make_trainer(config, load("rings"))
    assert trainer.data_noise == (0.0 if weight else 0.3)
    assert ("denoising_loss" in trainer.iteration()) == bool(weight)


def test_a_denoising_weight_needs_noise():
    with pytest.raises(ValueError, match="data_noise: expected > 0 with a denoising_weight"):
        TrainConfig(denoising_weight=1.0, data_noise=0.0)
