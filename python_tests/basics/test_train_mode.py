"""Modules in training mode whose values for one row depend on other rows or on chance."""

import warnings

import pytest
import torch
from helpers import normal

import effebm_ext as eff
from effebm_ext import losses
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.evaluation import annealed_importance_sampling

START = normal(4, 6)


def modules():
    linear = torch.nn.Linear(6, 6)
    return {
        "norm": torch.nn.Sequential(linear, torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 1)),
        "dropout": torch.nn.Sequential(linear, torch.nn.Dropout(0.5), torch.nn.Linear(6, 1)),
        "no drops": torch.nn.Sequential(linear, torch.nn.Dropout(0.0), torch.nn.Linear(6, 1)),
        "rows": torch.nn.Sequential(linear, torch.nn.LayerNorm(6), torch.nn.Linear(6, 1)),
    }


@pytest.mark.parametrize("name", modules())
@pytest.mark.parametrize("kind", [eff.Langevin, eff.MALA])
def test_samplers_warn_once_of_batch_statistics_and_dropout(name, kind):
    module = modules()[name]
    sampler = kind(module, step_size=0.01)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        sampler.sample(START, 1)
        sampler.sample(START, 1)
        kind(module.eval(), step_size=0.01).sample(START, 1)
    expected = {"norm": "1 (BatchNorm1d)", "dropout": "1 (Dropout)"}.get(name)
    assert len(seen) == (expected is not None)
    for warning in seen:
        assert f"Sequential is in training mode with {expected}" in str(warning.message)
        assert warning.filename == __file__


def test_scores_and_norms_without_statistics_are_warned_of_too():
    norm = torch.nn.BatchNorm1d(6, track_running_stats=False).eval()
    with pytest.warns(RuntimeWarning, match="BatchNorm1d is in training mode with itself"):
        eff.Langevin(score=norm, step_size=0.1).sample(START, 1)


def network(layer):
    return torch.nn.Sequential(torch.nn.Linear(6, 6), layer, torch.nn.Linear(6, 1))


class OfImages(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.InstanceNorm1d(2, track_running_stats=True)

    def forward(self, x):
        return self.norm(x.reshape(-1, 2, 3)).pow(4).sum((1, 2))


def walk(energy):
    WeightedWalkers(eff.MALA(energy, step_size=0.1), START, torch.zeros(4)).advance(1)


def anneal(energy):
    base, generator = (torch.zeros(6), torch.ones(6)), torch.Generator().manual_seed(0)
    annealed_importance_sampling(energy, START, base, n_steps=1, n_chains=2, generator=generator)


CALLS = {
    "Langevin": lambda energy: eff.Langevin(energy, step_size=0.1).run(START, 2),
    "shards": lambda energy: eff.Langevin(energy, step_size=0.1, shards=2).sample(START, 2),
    "MALA": lambda energy: eff.MALA(energy, step_size=0.1).sample(START, 2),
    "walkers": walk,
    "AIS": anneal,
    "fd_ssm": lambda energy: losses.fd_ssm(energy, START),
    "fd_ssm, less memory": lambda energy: losses.fd_ssm(energy, START, concatenated=False),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (lambda: network(torch.nn.Dropout(0.5)), "1 (Dropout)"),
        (lambda: network(torch.nn.SyncBatchNorm(6)).eval(), None),
        (OfImages, "norm (InstanceNorm1d)"),
        (lambda: OfImages().eval(), None),
    ],
    ids=["dropout", "batch norm in eval", "instance norm", "instance norm in eval"],
)
def test_every_user_of_a_network_in_training_warns(name, make, layer):
    energy = make()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        CALLS[name](energy)
        for call in CALLS.values():  # the network has been warned of
            call(energy)
    seen = [w for w in seen if "training mode" in str(w.message)]
    assert len(seen) == (layer is not None)
    for warning in seen:
        assert f"in training mode with {layer}" in str(warning.message)
        assert "eval()" in str(warning.message)
        assert warning.filename == __file__


def test_exact_losses_warn_of_batch_statistics():
    score = torch.nn.BatchNorm1d(6)
    with pytest.warns(RuntimeWarning, match="BatchNorm1d is in training mode"):
        losses.ssm_vr(score, START)


def test_chains_that_begin_in_eval_and_go_on_in_training_warn():
    for sampler in (eff.Langevin, eff.MALA):
        energy = network(torch.nn.BatchNorm1d(6)).eval()
        chains = PersistentChains(sampler(energy, step_size=0.1), START)
        energy.train()
        with pytest.warns(RuntimeWarning, match="training mode") as seen:
            chains.advance(1)
        assert [w.filename for w in seen] == [__file__]
