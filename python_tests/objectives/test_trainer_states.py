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
