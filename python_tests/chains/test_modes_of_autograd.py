"""Chains that move under a mode of autograd can be trained on after it."""

import contextlib

import pytest
import torch
from helpers import assert_same_bits, normal

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.networks import MLPEnergy

START, KEY = normal(8, 4), eff.Key(3)


def persistent(energy, kind):
    return PersistentChains(kind(energy, step_size=0.1), START, rng=KEY)


def buffer(energy):
    return ReplayBuffer(
        eff.Langevin(energy, step_size=0.1), START, n_chains=4, rng=KEY,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def walkers(energy, moved):
    sampler = eff.Langevin(energy, step_size=0.1)
    return WeightedWalkers(sampler, START, torch.zeros(8), rng=KEY, moved=moved)


CHAINS = {
    "persistent": lambda energy: persistent(energy, eff.Langevin),
    "persistent, MALA": lambda energy: persistent(energy, eff.MALA),
    "buffer": buffer,
    "walkers": lambda energy: walkers(energy, 0),
    "walkers in turn": lambda energy: walkers(energy, 3),
}


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_chains_moved_under_a_mode_are_trained_on(kind, mode):
    found = []
    for around in (contextlib.nullcontext, mode):
        torch.manual_seed(0)
        energy = MLPEnergy((4,), width=8, depth=1)
        chains = CHAINS[kind](energy)
        for _ in range(2):
            with around():
                chains.advance(2)
            assert not chains.samples.requires_grad
            loss = energy(START).mean() - energy(chains.samples).mean()
            found.append(torch.autograd.grad(loss, list(energy.parameters())))
    half = len(found) // 2
    for want, got in zip(found[:half], found[half:], strict=True):
        for a, b in zip(want, got, strict=True):
            assert_same_bits(a, b)
