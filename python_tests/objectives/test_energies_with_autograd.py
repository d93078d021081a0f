"""Energies and scores that use autograd for themselves, in losses, objectives and AIS."""

import pytest
import torch
from helpers import assert_same_bits, normal
from torch import nn

import effebm_ext as eff
from effebm_ext import losses
from effebm_ext.chains.intermittent import IntermittentChains
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.energies import score_of
from effebm_ext.evaluation import annealed_importance_sampling
from effebm_ext.objectives import Contrastive, Jarzynski, ParticleDynamics, ScoreMatching
from effebm_ext.training import Trainer

KEY, DATA = eff.Key(5), normal(16, 3)


class Explicit(nn.Module):
    """``|grad f|^2 / 2`` for ``f = a |x|^2 / 2 + b.x``, by hand."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(1.2)), nn.Parameter(torch.full((3,), 0.3))

    def forward(self, x):
        return (self.a * x + self.b).square().sum(1) / 2


class ByAutograd(Explicit):
    """The same by autograd."""

    def forward(self, x):
        f = (self.a * x.square() / 2 + self.b * x).sum()
        (gradient,) = torch.autograd.grad(f, x, create_graph=True)
        return gradient.square().sum(1) / 2


def score_by_autograd(x):
    (gradient,) = torch.autograd.grad(x.square().sum() / 2, x)
    return -gradient


def chains(energy):
    return PersistentChains(eff.Langevin(energy, step_size=0.1), DATA[:8], rng=KEY)


def score_matching(method, **options):
    def make(energy):
        rare = IntermittentChains(chains(energy), 2)
        return ScoreMatching(energy, rare, method, key=eff.Key(6), langevin_steps=1, **options)

    return make


def jarzynski(energy):
    sampler = eff.MALA(energy, step_size=0.1)
    walkers = WeightedWalkers(sampler, DATA[:8], torch.zeros(8), rng=KEY, moved=4)
    return Jarzynski(energy, walkers, langevin_steps=1)


def particles(move):
    return lambda energy: ParticleDynamics(energy, chains(energy), langevin_steps=1, move=move)


OBJECTIVES = {
    "contrastive": lambda energy: Contrastive(energy, chains(energy), langevin_steps=1),
    "denoising": lambda energy: Contrastive(
        energy, chains(energy), langevin_steps=1, denoising=1.0, sigma=0.5, key=eff.Key(7)
    ),
    "alpha": particles("alpha"),
    "beta": particles("beta"),
    "jarzynski": jarzynski,
    "ssm": score_matching("ssm"),
    "fd-ssm": score_matching("fd-ssm"),
    "fd-ssm-vr": score_matching("fd-ssm-vr"),
    "fd-dsm": score_matching("fd-dsm", sigma=0.5),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_is_that_of_the_energy_by_hand(name):
    metrics, parameters = [], []
    for energy in (Explicit(), ByAutograd()):
        optimizer = torch.optim.SGD(energy.parameters(), lr=0.1)
        generator = torch.Generator().manual_seed(0)
        objective = OBJECTIVES[name](energy)
        trainer = Trainer(energy, optimizer, objective, DATA, batch_size=6, generator=generator)
        metrics.append([trainer.iteration() for _ in range(3)])
        parameters.append([p.detach() for p in energy.parameters()])
    for by_hand, by_autograd in zip(*metrics, strict=True):
        assert by_autograd == pytest.approx(by_hand, rel=1e-3, abs=1e-4)
    for by_hand, by_autograd in zip(*parameters, strict=True):
        torch.testing.assert_close(by_autograd, by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grad_mode", [True, False])
@pytest.mark.parametrize("concatenated", [True, False])
@pytest.mark.parametrize("name", ["fd_ssm", "fd_dsm"])
def test_losses_are_those_of_the_energy_by_hand(name, concatenated, grad_mode):
    arguments = (DATA,) if name == "fd_ssm" else (DATA, 0.5)
    options = {"epsilon": 0.5, "rng": KEY, "concatenated": concatenated}
    found = []
    for energy in (Explicit(), ByAutograd()):
        with torch.set_grad_enabled(grad_mode):
            loss = getattr(losses, name)(energy, *arguments, **options).loss
        assert loss.requires_grad == grad_mode
        found.append(loss.detach())
        if grad_mode:
            loss.backward()
            found.append(energy.a.grad)
    half = len(found) // 2
    torch.testing.assert_close(found[half:], found[:half])


def test_denoising_takes_scores_that_use_autograd():
    want = losses.dsm(torch.neg, DATA, 0.5, rng=KEY).loss
    assert_same_bits(losses.dsm(score_by_autograd, DATA, 0.5, rng=KEY).loss, want)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_scores_that_use_autograd_move_chains_in_every_mode(mode):
    want = eff.Langevin(score=torch.neg, step_size=0.1).sample(DATA, 3, rng=KEY)
    for score in (score_by_autograd, score_of(lambda x: x.square().sum(1) / 2)):
        with mode():
            got = eff.Langevin(score=score, step_size=0.1).sample(DATA.clone(), 3, rng=KEY)
        assert_same_bits(got.clone(), want)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("energy", [Explicit(), ByAutograd()], ids=["by hand", "by autograd"])
def test_ais_in_every_mode_is_that_without(energy, mode):
    def found():
        base, generator = (torch.zeros(3), torch.ones(3)), torch.Generator().manual_seed(0)
        options = {"n_steps": 20, "n_chains": 8, "generator": generator}
        return annealed_importance_sampling(energy, DATA.clone(), base, **options).forward

    with mode():
        inside = found()
    assert inside == found()


@pytest.mark.parametrize("value", [None, (), [1.0], torch.ones(16).int(), torch.ones(16) == 1])
@pytest.mark.parametrize(
    "call",
    [
        lambda energy: losses.fd_ssm(energy, DATA),
        lambda energy: losses.fd_dsm(energy, DATA, 0.5, concatenated=False),
        lambda energy: losses.ssm(score_of(energy), DATA),
        lambda energy: eff.Langevin(energy, step_size=0.1).sample(DATA, 1),
        lambda energy: eff.MALA(energy, step_size=0.1).init(DATA),
    ],
    ids=["fd_ssm", "fd_dsm", "score_of", "Langevin", "MALA"],
)
def test_energies_that_are_no_numbers_are_refused(call, value):
    kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
    with pytest.raises(TypeError) as caught:
        call(lambda x: value)
    assert str(caught.value) == f"energy: expected a floating-point tensor, got {kind}"


def test_errors_of_energies_come_through():
    def energy(x):
        raise RuntimeError("of the energy")

    with pytest.raises(RuntimeError, match=r"^of the energy$"):
        losses.fd_ssm(energy, DATA)
    with pytest.raises(RuntimeError, match="does not require grad"):
        losses.fd_ssm(lambda x: torch.autograd.grad(torch.ones(()), x), DATA)
