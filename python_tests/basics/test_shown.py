"""How objects print: in one line, as the call that makes them."""

import functools

import numpy as np
import pytest
import torch
from helpers import normal

import effebm_ext as eff
from effebm_ext.chains.intermittent import IntermittentChains
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.restart import Restart
from effebm_ext.chains.storage import Storage
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.energies import score_of
from effebm_ext.networks import MLPEnergy
from effebm_ext.objectives import Contrastive, Jarzynski, ParticleDynamics, ScoreMatching
from effebm_ext.training import Trainer

KEY, DATA = eff.Key(3), normal(8, 4)
NET = MLPEnergy((4,), width=8, depth=1)


def energy(x):
    return x.square().sum(1) / 2


class Callable:
    def __call__(self, x):
        return energy(x)


def schedule(step, rate):
    return rate / (1 + step)


HALVING = functools.partial(schedule, rate=0.5)
LANGEVIN = eff.Langevin(energy, step_size=0.1)
CHAINS = PersistentChains(eff.Langevin(NET, step_size=0.1), DATA, rng=KEY)
FEEDBACK = eff.Langevin(NET, step_size=0.02, compressor=eff.TopK(ratio=0.1), error_feedback=True)
GENERATOR = torch.Generator()

SIMPLE = [
    (KEY, "Key(seed=3)"),
    (KEY.at(2), "Key(seed=3, offset=2)"),
    (eff.Key(3, first_chain=1), "Key(seed=3, first_chain=1)"),
    (eff.TopK(2), "TopK(k=2)"),
    (eff.RandomK(ratio=0.5), "RandomK(ratio=0.5)"),
    (eff.RandomK(2, unbiased=False), "RandomK(k=2, unbiased=False)"),
    (eff.NaturalCompression(), "NaturalCompression()"),
    (eff.NaturalCompression(3), "NaturalCompression(mantissa_bits=3)"),
    (eff.BlockSign(64), "BlockSign(block_size=64)"),
    (eff.BlockSign(block_offsets=[0, 1, 4]), "BlockSign(block_offsets=(0, 1, 4))"),
    (eff.ClipNorm(2), "ClipNorm(limit=2.0)"),
    (eff.Reflect(0, 1), "Reflect(lower=0.0, upper=1.0)"),
    (Storage(), "Storage()"),
]


@pytest.mark.parametrize(("made", "text"), SIMPLE, ids=[text for _, text in SIMPLE])
def test_what_prints_as_its_call_is_made_by_it(made, text):
    assert repr(made) == text
    assert eval(text, {**vars(eff), "Storage": Storage}) == made


OTHERS = [
    (
        FEEDBACK,
        "Langevin(energy=MLPEnergy, step_size=0.02, compressor=TopK(ratio=0.1), "
        "error_feedback=True)",
    ),
    (
        eff.Langevin(Callable(), step_size=0.1, bounds=(-1, 1), shards=2),
        "Langevin(energy=Callable, step_size=0.1, bounds=Clamp(lower=-1.0, upper=1.0), shards=2)",
    ),
    (
        eff.Langevin(score=torch.neg, step_size=torch.full((3,), 0.1)),
        "Langevin(score=neg, step_size=tensor of shape (3,))",
    ),
    (
        eff.Langevin(score=score_of(NET), step_size=HALVING, compressor=torch.tanh),
        "Langevin(score=score_of(MLPEnergy), step_size=partial(schedule, rate=0.5), "
        "compressor=tanh)",
    ),
    (
        eff.MALA(energy, step_size=np.float32(0.5), clip=eff.ClipNorm(2), on_divergence="raise"),
        "MALA(energy=energy, step_size=0.5, clip=ClipNorm(limit=2.0), on_divergence='raise')",
    ),
    (
        LANGEVIN.init(DATA, rng=KEY, energy_kwargs={"y": torch.zeros(8), "scale": 2}),
        "LangevinState(x=tensor of shape (8, 4), key=Key(seed=3), "
        "energy_kwargs={'y': tensor of shape (8,), 'scale': 2})",
    ),
    (
        eff.MALA(energy, step_size=0.1).init(DATA, rng=KEY),
        "CachedState(x=tensor of shape (8, 4), key=Key(seed=3), energy=tensor of shape (8,), "
        "drift=tensor of shape (8, 4))",
    ),
    (
        eff.TopK(2).pack(eff.TopK(2).compress(DATA)),
        "PackedEntries(values=tensor of shape (8, 2), indices=tensor of shape (8, 2), "
        "event_shape=(4,))",
    ),
    (
        FEEDBACK.run(DATA, 3, rng=KEY, trajectory="packed").trajectory,
        "PackedTrajectory(x0=tensor of shape (8, 4), key=Key(seed=3), drifts=list of 3, "
        "step_sizes=list of 3, noise_stds=list of 3)",
    ),
    (
        Restart(0.1, torch.zeros, GENERATOR),
        "Restart(probability=0.1, fresh=zeros, generator=Generator)",
    ),
    (CHAINS, "PersistentChains(sampler=Langevin(energy=MLPEnergy, step_size=0.1))"),
    (
        ReplayBuffer(
            eff.Langevin(energy, step_size=schedule), DATA, n_chains=4, generator=GENERATOR
        ),
        "ReplayBuffer(sampler=Langevin(energy=energy, step_size=schedule), n_chains=4, "
        "generator=Generator, storage=Storage())",
    ),
    (
        WeightedWalkers(eff.MALA(energy, step_size=0.1), DATA, torch.zeros(8)),
        "WeightedWalkers(sampler=MALA(energy=energy, step_size=0.1))",
    ),
    (
        Contrastive(NET, CHAINS, langevin_steps=2),
        f"Contrastive(energy=MLPEnergy, chains={CHAINS}, langevin_steps=2)",
    ),
    (
        ParticleDynamics(NET, CHAINS, langevin_steps=2, move="beta"),
        f"ParticleDynamics(energy=MLPEnergy, chains={CHAINS}, langevin_steps=2, move='beta')",
    ),
    (
        Jarzynski(NET, WeightedWalkers(LANGEVIN, DATA, torch.zeros(8)), langevin_steps=2),
        "Jarzynski(energy=MLPEnergy, walkers=WeightedWalkers(sampler=LangevinProposal("
        "energy=energy, step_size=0.1)), langevin_steps=2)",
    ),
    (
        ScoreMatching(
            NET, IntermittentChains(CHAINS, 5), "dsm", key=KEY, langevin_steps=2, sigma=0.5
        ),
        f"ScoreMatching(energy=MLPEnergy, chains=IntermittentChains(chains={CHAINS}, period=5), "
        "method='dsm', key=Key(seed=3), langevin_steps=2, sigma=0.5)",
    ),
    (
        Trainer(
            NET,
            torch.optim.SGD(NET.parameters(), lr=0.1),
            Contrastive(NET, CHAINS, langevin_steps=2),
            DATA,
            batch_size=4,
            generator=GENERATOR,
        ),
        f"Trainer(energy=MLPEnergy, optimizer=SGD, objective=Contrastive(energy=MLPEnergy, "
        f"chains={CHAINS}, langevin_steps=2), data=tensor of shape (8, 4), batch_size=4, "
        "generator=Generator)",
    ),
]


@pytest.mark.parametrize(("made", "text"), OTHERS, ids=[type(made).__name__ for made, _ in OTHERS])
def test_objects_print_in_one_line(made, text):
    assert repr(made) == text
