"""Graphs of chains see what changes after their capture: parameters, modes, options, arguments."""

import contextlib
import functools

import pytest
import torch
from captured_pairs import (
    EF,
    KEY,
    assert_same_info,
    assert_same_state,
    harmonic,
    network,
    pair,
    quadratic,
)
from helpers import assert_same_bits, normal

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.samplers.program_key import program_key

pytestmark = pytest.mark.usefixtures("captures")


def train(energy, chains, data):
    """An iteration of training with an optimiser that writes the parameters in place."""
    optimizer = torch.optim.Adam(energy.parameters(), lr=0.05)
    for _ in range(3):
        chains.advance(5)
        loss = energy(data).mean() - energy(chains.x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_graphs_see_what_an_optimiser_writes(device, captures):
    x0, data, seen = normal(5, 4, device=device), normal(5, 4, seed=1, device=device), []
    for graph in (False, True):
        energy = network(device)
        sampler = eff.Langevin(energy, step_size=0.1, cuda_graph=graph, **EF)
        chains = PersistentChains(sampler, x0, rng=KEY)
        train(energy, chains, data)
        seen.append(chains.state)
    assert_same_state(*seen)
    assert len(captures) == 2 * (device.type == "cuda")  # of 4 steps and of one


def changes(energy):
    """Ways to put other tensors, or another mode, where the graph has looked."""
    other = {name: 2 * value for name, value in energy.state_dict().items()}
    return {
        "data": lambda: [setattr(p, "data", 2 * p.data) for p in energy.parameters()],
        "assign": lambda: energy.load_state_dict(other, assign=True),
        "mode": lambda: energy.train(not energy.training),
    }


class Moded(torch.nn.Module):
    """Has another energy in evaluation than in training."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) * (1 if self.training else 3)


class Holder:
    def __init__(self, inner):
        self.inner = inner

    def __call__(self, x):
        return self.inner(x)

    def energy(self, x):
        return self.inner(x)


FORMS = {
    "module": lambda module: module,
    "function": lambda module: lambda x: module(x),
    "partial": lambda module: functools.partial(lambda m, x: m(x), module),
    "object": Holder,
    "method": lambda module: Holder(module).energy,
}


@pytest.mark.parametrize("change", ["data", "assign", "mode"])
@pytest.mark.parametrize("form", FORMS)
def test_other_parameters_and_modes_are_noticed(device, change, form):
    module = Moded(network(device))
    samplers = pair(FORMS[form](module))
    states = [s.init(normal(5, 4, device=device), rng=KEY) for s in samplers]
    for _ in range(3):
        for sampler, state in zip(samplers, states, strict=True):
            sampler.advance_(state, 4)
        assert_same_state(*states)
        changes(module)[change]()


def test_options_that_change_are_noticed(device):
    samplers = pair(step_size=0.1, **EF)
    states = [s.init(normal(5, 4, device=device), rng=KEY) for s in samplers]
    changed = [
        {"step_size": 0.05},
        {"temperature": 0.5},
        {"temperature": 0.25},
        {"clip": eff.ClipValue(0.2)},
        {"statistics": True},
        {"step_size": harmonic},
        {"bounds": eff.Clamp(-0.5, 0.5)},
        {"step_size": torch.full((), 0.2, device=device)},
        {"step_size": torch.full((), 0.4, device=device)},
        {"temperature": 0.75},
    ]
    for options in changed:
        for sampler in samplers:
            vars(sampler).update(options)
        infos = [s.advance_(state, 6) for s, state in zip(samplers, states, strict=True)]
        assert_same_info(*infos)
        assert_same_state(*states)


def test_autocast_and_the_layout_of_chains_are_noticed(device):
    sampler = pair(network(device))[1]
    state = sampler.init(normal(5, 4, device=device), rng=KEY)
    keys = [program_key(sampler, state)]
    for name, value in (("is_autocast_enabled", True), ("get_autocast_dtype", torch.float64)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, name, lambda place, value=value: value)
            keys.append(program_key(sampler, state))
    state.x = state.x.t().contiguous().t()
    keys.append(program_key(sampler, state))
    assert len(set(keys)) == 4


def test_arguments_of_the_energy_that_change_are_noticed(device):
    samplers = pair(lambda x, centre, scale, power: quadratic(x, centre) * scale * power)
    kwargs = {"centre": torch.zeros(5, 1, device=device), "scale": 1.0, "power": torch.ones(())}
    states = [s.init(normal(5, 4, device=device), rng=KEY, energy_kwargs=kwargs) for s in samplers]
    for i in range(6):
        kwargs["power"].fill_(1 + i // 3)  # a tensor of the host, which chains share
        for sampler, state in zip(samplers, states, strict=True):
            state.energy_kwargs["centre"][i % 5] = i
            state.energy_kwargs["scale"] = 1.0 + i // 2
            sampler.advance_(state, 4)
        assert_same_state(*states)


class Counting(torch.nn.Module):
    """Notes every call in a buffer, on which the energy depends."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return quadratic(x) * self.calls


def test_warming_up_leaves_the_buffers_of_a_module(device):
    x0, seen = normal(5, 4, device=device), []
    for graph in (False, True):
        energy = Counting().to(device)
        sampler = eff.Langevin(energy, step_size=0.01, cuda_graph=graph)
        seen.append(sampler.sample(x0, 6, rng=KEY))
        assert float(energy.calls) == 7  # sample() looks where the last step went
    assert_same_bits(*seen)


@pytest.mark.parametrize("options", [{}, {"compressor": torch.tanh}], ids=["none", "tanh"])
def test_the_callers_modes_hold(device, options):
    x0, energy = normal(5, 4, device=device), network(device)
    want = pair(energy, **options)[0].sample(x0, 5, rng=KEY)
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        sampler = pair(energy, **options)[1]
        with mode():
            got = sampler.sample(x0, 5, rng=KEY)
        assert_same_bits(got.clone(), want)
        assert_same_bits(sampler.sample(x0, 5, rng=KEY), want)
        state = sampler.init(x0, rng=KEY)
        for step in range(5):  # a state of one mode, moved in another
            with mode() if step % 2 else contextlib.nullcontext():
                sampler.advance_(state)
        assert_same_bits(state.x, want)


def test_autograd_learns_that_the_state_was_written(device):
    sampler = pair()[1]
    state = sampler.init(torch.ones(4, 2, device=device), rng=KEY)
    weight = torch.ones((), device=device, requires_grad=True)
    loss = (weight * state.x).sum()
    sampler.advance_(state, 1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
