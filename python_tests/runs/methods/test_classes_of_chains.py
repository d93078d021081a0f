"""Every class of a conditional run has a chain, however rare it is."""

import dataclasses
import warnings

import pytest
import torch
from helpers import normal

from effebm_ext.batches import spread_labels
from effebm_ext.runs import TrainConfig, make_trainer
from effebm_ext.runs.data.dataset import Dataset

CONFIG = TrainConfig(
    data="points", conditional=True, chains=16, langevin_steps=1, holdout=0.0, batch_size=16,
    width=4, depth=1,
)  # fmt: skip
RARE = torch.arange(3).repeat_interleave(torch.tensor([546, 531, 3]))
TEN = torch.arange(50) % 10


def points(labels):
    return Dataset("points", normal(len(labels), 2), False, labels)


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("sizes", "n", "counts"),
    [
        ([546, 531, 3], 128, [64, 63, 1]),
        ([1, 98, 1], 10, [1, 8, 1]),
        ([1000, 1, 1, 1, 1], 5, [1, 1, 1, 1, 1]),
        ([300, 100], 400, [300, 100]),
        ([30, 10, 20], 7, [4, 1, 2]),
        ([5, 0, 1], 4, [3, 0, 1]),  # a class without data has no chain
    ],
)
def test_rare_classes_have_one_chain(sizes, n, counts):
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    shuffled = labels[torch.randperm(len(labels), generator=generator())]
    spread = spread_labels(shuffled, n, generator())
    assert spread.bincount(minlength=len(sizes)).tolist() == counts


def test_fewer_chains_than_classes_have_different_classes():
    for sizes in ([5] * 10, [50, 1, 1, 1, 1, 1, 1, 1, 1, 1]):
        labels = torch.arange(10).repeat_interleave(torch.tensor(sizes))
        assert len(spread_labels(labels, 8, generator()).unique()) == 8


@pytest.mark.parametrize("objective", ["contrastive", "particle"])
@pytest.mark.parametrize("chains", [16, 128])
def test_a_rare_class_is_learnt(objective, chains):
    config = dataclasses.replace(CONFIG, objective=objective, chains=chains, batch_size=chains)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer = make_trainer(config, points(RARE))
    head = list(trainer.energy.parameters())[-1]
    before = head.detach().clone()
    _, labels = trainer._batch()
    own = trainer.state.energy_kwargs["y"]
    assert torch.equal(labels["y"].bincount(), own.bincount())  # the loss compares like with like
    trainer.iteration()
    assert (head != before).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "chains: expected at least 10, one chain for each class, got 8: .* classes: 4, 9$"),
        ({"buffer_size": 9}, "buffer_size: expected at least 10, .* got 9: .* classes: 9$"),
    ],
)
def test_classes_that_have_no_chain_are_warned_of(options, message):
    config = dataclasses.replace(CONFIG, chains=8, **options)
    with pytest.warns(RuntimeWarning, match=message):
        make_trainer(config, points(TEN))


def test_a_warning_of_many_classes_is_short():
    with pytest.warns(RuntimeWarning, match=r"classes: \d+(, \d+){9} and 74 more$"):
        make_trainer(CONFIG, points(torch.arange(100)))


@pytest.mark.parametrize(
    "options",
    [
        {"buffer_size": 10},  # which gives every class its turn
        {"restart_probability": 0.1},  # draws all classes by and by
        {"objective": "dsm"},  # batches have the classes of the data
    ],
)
def test_classes_that_are_learnt_are_not_warned_of(options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_trainer(dataclasses.replace(CONFIG, chains=8, **options), points(TEN))


def test_the_command_names_the_classes_that_are_not_learnt(effebm, tmp_path):
    tiny = ["--iterations", 1, "--ais-steps", 0, "--langevin-steps", 1, "--batch-size", 4]
    flags = ["--data", "digits", "--conditional", "--chains", 8, "--out", tmp_path / "run"]
    status, _, error = effebm("train", *tiny, *flags)
    assert (status, "does not learn these classes: 5, 9" in error) == (0, True)
