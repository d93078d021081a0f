"""Objects are pickled, copied, sent to processes that start anew, and loaded as plain data."""

import copy
import dataclasses
import functools
import io
import pickle

import pytest
import torch
from helpers import assert_same_bits, normal
from torch import multiprocessing
from torch.optim.swa_utils import AveragedModel

import effebm_ext as eff
from effebm_ext.chains.intermittent import IntermittentChains
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.restart import Restart
from effebm_ext.chains.storage import Storage
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.energies import energy_and_gradient, score_of
from effebm_ext.networks import MLPEnergy
from effebm_ext.objectives import Contrastive, Jarzynski, ParticleDynamics, ScoreMatching
from effebm_ext.training import Trainer

KEY, DATA = eff.Key(3), normal(8, 4)


def energy():
    torch.manual_seed(0)
    return MLPEnergy((4,), width=8, depth=1)


def generator():
    return torch.Generator().manual_seed(0)


def langevin(function, **options):
    return eff.Langevin(function, step_size=0.1, **options)


def trainer(make, **options):
    function = energy()
    optimizer = torch.optim.Adam(function.parameters())
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    return Trainer(
        function, optimizer, make(function), DATA, batch_size=4, generator=generator(),
        schedule=schedule, ema=AveragedModel(function), **options,
    )  # fmt: skip


def persistent(function, **options):
    return PersistentChains(langevin(function), DATA, rng=KEY, **options)


def buffered(function):
    sampler = eff.Langevin(
        function, step_size=functools.partial(pow, 0.5), on_divergence="restart",
        compressor=eff.TopK(2), error_feedback=True,
    )  # fmt: skip
    return ReplayBuffer(
        sampler, DATA, n_chains=4, generator=generator(), storage=Storage(torch.uint8, (-4, 4)),
        restart=Restart(0.5, functools.partial(torch.narrow, DATA, 0, 0), generator()), rng=KEY,
    )  # fmt: skip


def walkers(function, key=KEY):
    return WeightedWalkers(langevin(function), DATA, torch.zeros(8), rng=key)


def followed(function):
    followers = walkers(function, eff.Key(4))
    return Jarzynski(function, walkers(function), langevin_steps=1, followers=followers)


def score_matching(function):
    chains = IntermittentChains(persistent(function), 2)
    return ScoreMatching(function, chains, "ssm", key=eff.Key(5), langevin_steps=1)


SAMPLERS = {
    "Langevin": lambda: langevin(energy(), compressor=eff.TopK(2), error_feedback=True),
    "score": lambda: eff.Langevin(score=score_of(energy()), step_size=0.1, compressor=torch.tanh),
    "graphs": lambda: langevin(energy(), cuda_graph=True, shards=2, bounds=(-1, 1)),
    "MALA": lambda: eff.MALA(energy(), step_size=0.1, compressor=eff.BlockSign(2)),
}
CHAINS = {
    "persistent": lambda: persistent(energy()),
    "buffer": lambda: buffered(energy()),
    "walkers": lambda: walkers(energy()),
}
TRAINERS = {
    "contrastive": lambda: trainer(lambda f: Contrastive(f, buffered(f), langevin_steps=1)),
    "particles": lambda: trainer(lambda f: ParticleDynamics(f, persistent(f), langevin_steps=1)),
    "jarzynski": lambda: trainer(lambda f: Jarzynski(f, walkers(f), langevin_steps=1)),
    "followers": lambda: trainer(followed),
    "score matching": lambda: trainer(score_matching),
}
RUN = langevin(energy(), compressor=eff.TopK(2)).run(DATA, 3, rng=KEY, trajectory="packed")
DRIFT = energy_and_gradient(energy(), DATA)[1]
PLAIN = [
    *[KEY, KEY.at(3), eff.Clamp(0, 1), eff.Reflect(0, 1), eff.ClipNorm(1), eff.ClipValue(2)],
    *[eff.TopK(2), eff.RandomK(ratio=0.5, unbiased=False), eff.NaturalCompression(3)],
    *[eff.BlockSign(2), eff.BlockSign(block_offsets=(0, 1, 4))],
    *(c.pack(c.compress(DRIFT)) for c in (eff.TopK(2), eff.BlockSign(2))),
    eff.NaturalCompression(2).pack(eff.NaturalCompression(2).compress(DRIFT, rng=KEY)),
    *[langevin(energy()).init(DATA), SAMPLERS["MALA"]().init(DATA), RUN],
]


def parts(value):
    """Returns the tensors and numbers that an object is made of."""
    if dataclasses.is_dataclass(value):
        return [type(value), *parts(vars(value))]
    if isinstance(value, dict):
        return [list(value), *parts(list(value.values()))]
    if isinstance(value, (list, tuple)):
        return [type(value), *(part for element in value for part in parts(element))]
    return [(value.dtype, value.tolist()) if isinstance(value, torch.Tensor) else value]


def pickled(value):
    return pickle.loads(pickle.dumps(value))


def as_plain_data(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("again", [pickled, copy.deepcopy, as_plain_data])
@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_plain_data_comes_back(value, again):
    assert parts(again(value)) == parts(value)


def sampled(sampler):
    return sampler.sample(DATA, 3, rng=KEY)


def advanced(chains):
    chains.advance(2)
    return chains.state.x


def hook(trainer):
    return {"count": float(trainer.iterations)}


@pytest.mark.parametrize("again", [pickled, copy.deepcopy])
@pytest.mark.parametrize("kind", ["sampler", "chains"])
def test_samplers_and_chains_come_back_before_and_after_use(kind, again):
    use = sampled if kind == "sampler" else advanced
    for make in (SAMPLERS if kind == "sampler" else CHAINS).values():
        one = make()
        other = again(one)
        assert_same_bits(use(other), use(one))
        assert_same_bits(use(again(one)), use(one))


@pytest.mark.parametrize("again", [pickled, copy.deepcopy])
@pytest.mark.parametrize("name", TRAINERS)
def test_trainers_come_back_and_go_on(name, again):
    one = TRAINERS[name]()
    one.hook = hook
    one.iteration()
    other = again(one)
    assert [other.iteration() for _ in range(2)] == [one.iteration() for _ in range(2)]


def test_samplers_and_trainers_work_in_processes_that_start_anew():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for make in SAMPLERS.values():
            there = pool.apply(make().sample, (DATA, 3), {"rng": KEY})
            assert_same_bits(there, sampled(make()))
        for make in TRAINERS.values():
            assert pool.apply(make().iteration) == make().iteration()
