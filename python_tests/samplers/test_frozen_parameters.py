"""Parameters ask for no gradient while chains move, and are as before afterwards."""

import pytest
import torch
from torch import nn

import effebm_ext as eff
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.energies import frozen
from effebm_ext.evaluation import annealed_importance_sampling
from effebm_ext.networks import MLPEnergy

X0 = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


class Watched(nn.Module):
    """An energy that keeps whether a parameter asked for a gradient, call by call."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.fixed = MLPEnergy((3,), width=8), nn.Linear(3, 1, bias=False)
        self.fixed.requires_grad_(False)
        self.asked = []

    def forward(self, x):
        self.asked.append(torch.is_grad_enabled() and any(parameters_of(self)))
        return self.net(x) + self.fixed(x)[:, 0] + x.square().sum(1)


def langevin(energy, **options):
    return eff.Langevin(energy, step_size=0.1, **options)


def packed(energy):
    sampler = langevin(energy, compressor=eff.BlockSign(3))
    sampler.run(X0, 3, trajectory="packed", rng=eff.Key(0))


def walkers(energy):
    for sampler in (langevin(energy), eff.MALA(energy, step_size=0.1)):
        WeightedWalkers(sampler, X0, torch.zeros(6), rng=eff.Key(0)).advance(2)


def annealed(energy):
    base = (torch.zeros(3), torch.ones(3))
    generator = torch.Generator().manual_seed(0)
    annealed_importance_sampling(energy, X0, base, n_steps=2, n_chains=3, generator=generator)


MOVES = {
    "sample": lambda energy: langevin(energy).sample(X0, 3, rng=eff.Key(0)),
    "run": lambda energy: langevin(energy).run(X0, 3, rng=eff.Key(0)),
    "packed": packed,
    "shards": lambda energy: langevin(energy, shards=2).sample(X0, 3, rng=eff.Key(0)),
    "adjusted": lambda energy: eff.MALA(energy, step_size=0.1).sample(X0, 3, rng=eff.Key(0)),
    "walkers": walkers,
    "AIS": annealed,
}


def parameters_of(energy):
    return [p.requires_grad for p in energy.parameters()]


@pytest.mark.parametrize("name", MOVES)
def test_no_parameter_asks_while_chains_move(name):
    energy = Watched()
    before = parameters_of(energy)
    MOVES[name](energy)
    assert energy.asked
    assert not any(energy.asked)
    assert parameters_of(energy) == before == [True] * (len(before) - 1) + [False]


def test_an_error_leaves_the_parameters_as_they_were():
    energy = Watched()
    before = parameters_of(energy)
    sampler = langevin(energy)
    state = sampler.init(X0)
    state.x = state.x[:, :2]
    with pytest.raises(RuntimeError):
        sampler.advance_(state)
    assert parameters_of(energy) == before


def test_chains_are_those_of_a_function_that_stays_as_it_is():
    energy = Watched()
    want = langevin(energy).sample(X0, 5, rng=eff.Key(3))
    energy.asked.clear()
    assert torch.equal(langevin(lambda x: energy(x)).sample(X0, 5, rng=eff.Key(3)), want)
    assert any(energy.asked)  # a function is no module


def test_a_graph_from_before_is_differentiated_after():
    energy = Watched()
    want = torch.autograd.grad(energy(X0).sum(), list(energy.net.parameters()))
    loss = energy(X0).sum()
    langevin(energy).sample(X0, 2)
    loss.backward()
    for parameter, gradient in zip(energy.net.parameters(), want, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_blocks_may_be_nested_and_take_any_object():
    energy = Watched()
    before = parameters_of(energy)
    with frozen(energy), frozen(None), frozen(energy.forward):
        with frozen(energy):
            assert not any(parameters_of(energy))
        assert not any(parameters_of(energy))
    assert parameters_of(energy) == before
