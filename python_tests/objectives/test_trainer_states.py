"""States of trainers pass between energies that are compiled, parallel and plain."""

import io
import os

import pytest
import torch
from helpers import normal
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.restart import Restart
from effebm_ext.objectives import Contrastive
from effebm_ext.training import Trainer

DATA = normal(8, 2)


class Energy(nn.Module):
    """Has parameters, running statistics, and a state of its own kind."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.module = nn.Linear(2, 3)  # a name that DataParallel uses too
        self.norm, self.last, self.calls = nn.BatchNorm1d(3).eval(), nn.Linear(3, 1), 0

    def forward(self, x):
        return self.last(self.norm(self.module(x)).tanh()) + x.square().sum(1, keepdim=True)

    def get_extra_state(self):
        return self.calls

    def set_extra_state(self, state):
        self.calls = state


def compiled(module):
    return torch.compile(module, backend="eager")


def partly_compiled(module):
    module.module = compiled(module.module)
    return module


WRAPS = {
    "plain": lambda module: module,
    "compiled": compiled,
    "parallel": nn.DataParallel,
    "compiled parallel": lambda module: compiled(nn.DataParallel(module)),
    "parallel compiled": lambda module: nn.DataParallel(compiled(module)),
    "partly compiled": partly_compiled,
}


def trainer_of(energy, average=True):
    chains = PersistentChains(eff.Langevin(energy, step_size=0.1), DATA[:4], rng=eff.Key(0))
    return Trainer(
        energy,
        torch.optim.Adam(energy.parameters(), lr=0.1),
        Contrastive(energy, chains, langevin_steps=1),
        DATA,
        batch_size=4,
        ema=AveragedModel(energy) if average else None,
        generator=torch.Generator().manual_seed(0),
    )


def on_disk(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


PAIRS = [(one, other) for one in WRAPS for other in WRAPS if "plain" in (one, other)]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_states_pass_between_wrapped_energies(one, other):
    first, second = (trainer_of(WRAPS[name](Energy())) for name in (one, other))
    first.iteration()
    names = list(Energy().state_dict())
    saved = on_disk(first.state_dict())
    assert list(saved["energy"]) == names
    assert list(saved["ema"]) == ["n_averaged", *(f"module.{name}" for name in names)]
    second.load_state_dict(saved)
    assert second.iteration() == first.iteration()
    for kind in ("energy", "model"):
        pairs = zip(getattr(first, kind).parameters(), getattr(second, kind).parameters(), strict=1)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", WRAPS)
def test_states_saved_by_the_names_of_the_wrappers_load(name):
    first, second = (trainer_of(WRAPS[name](Energy())) for _ in range(2))
    first.iteration()
    own = {"energy": first.energy.state_dict(), "ema": first.ema.state_dict()}
    second.load_state_dict({**first.state_dict(), **own})
    assert second.iteration() == first.iteration()


def test_the_state_of_a_plain_energy_is_that_of_the_module():
    trainer = trainer_of(Energy())
    saved, own = trainer.state_dict(), trainer.energy.state_dict()
    assert saved["energy"].keys() == own.keys()
    assert saved["energy"]._metadata == own._metadata  # torch's versions of layers
    before = list(saved["energy"])
    trainer.load_state_dict(saved)
    assert list(saved["energy"]) == before


def test_a_distributed_energy_is_saved_as_what_it_wraps(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{os.fspath(tmp_path / 'store')}", rank=0, world_size=1
    )
    try:
        first = trainer_of(DistributedDataParallel(Energy()), average=False)
        first.iteration()
        saved = first.state_dict()
    finally:
        torch.distributed.destroy_process_group()
    assert list(saved["energy"]) == list(Energy().state_dict())
    second = trainer_of(Energy(), average=False)
    second.load_state_dict(saved)
    assert torch.equal(second.energy.last.weight, first.energy.module.last.weight)


def drawing_trainer(kind, seed, *, shared=False, denoising=0.0):
    """A trainer whose chains draw numbers, from generators that begin at a seed: of their own, or
    from the trainer's."""
    trainers, drawn, restarted = (torch.Generator().manual_seed(seed + i) for i in range(3))
    if shared:
        drawn = restarted = trainers
    energy = Energy()
    sampler, key = eff.Langevin(energy, step_size=0.1), eff.Key(0)
    restart = Restart(0.5, lambda n: torch.randn(n, 2, generator=restarted), restarted)
    chains = {
        "persistent": lambda: PersistentChains(sampler, DATA[:4], rng=key, restart=restart),
        "buffer": lambda: ReplayBuffer(sampler, DATA, n_chains=3, generator=drawn, rng=key),
        "restarted buffer": lambda: ReplayBuffer(
            sampler, DATA, n_chains=3, generator=drawn, rng=key, restart=restart
        ),
    }[kind]()
    options = {"denoising": denoising, "sigma": 0.1, "key": eff.Key(1)} if denoising else {}
    objective = Contrastive(energy, chains, langevin_steps=1, **options)
    optimizer = torch.optim.SGD(energy.parameters(), lr=0.1)
    return Trainer(energy, optimizer, objective, DATA, batch_size=4, generator=trainers)


@pytest.mark.parametrize("options", [{}, {"shared": True}, {"denoising": 1.0}], ids=str)
@pytest.mark.parametrize("kind", ["persistent", "buffer", "restarted buffer"])
def test_generators_of_chains_go_on_where_they_were(kind, options):
    first, second = (drawing_trainer(kind, seed, **options) for seed in (0, 10))
    for _ in range(3):
        first.iteration()
    second.load_state_dict(on_disk(first.state_dict()))
    for _ in range(3):
        assert second.iteration() == first.iteration()
        assert torch.equal(second.samples, first.samples)
    assert all(map(torch.equal, second.energy.parameters(), first.energy.parameters()))


@pytest.mark.parametrize("kind", ["persistent", "restarted buffer"])
def test_earlier_states_leave_generators_where_they_are(kind):
    first, second, alone = (drawing_trainer(kind, seed) for seed in (0, 10, 10))
    first.iteration()
    state = first.state_dict()
    chains = {k: v for k, v in state["chains"].items() if k not in ("generator", "restart")}
    second.load_state_dict({**state, "chains": chains})
    assert torch.equal(second.generator.get_state(), first.generator.get_state())
    generators = [trainer.chains.restart.generator.get_state() for trainer in (second, alone)]
    assert torch.equal(*generators)
