"""Chains of conditional runs start at data of their own class."""

import dataclasses

import numpy as np
import pytest
import torch

from effebm_ext.runs import TrainConfig, make_trainer
from effebm_ext.runs.data.dataset import Dataset

LABELS = torch.tensor([0, 1, 2, 1, 1, 0] * 20)
ROWS = torch.stack([LABELS.float(), torch.linspace(-0.4, 0.4, 120)], 1)  # a row tells its class
DATA = Dataset("points", ROWS, False, LABELS)
CONFIG = TrainConfig(
    data="points", conditional=True, init="data", chains=48, langevin_steps=1, holdout=0.0,
    batch_size=8, width=4, depth=1,
)  # fmt: skip


def same_class(state):
    return torch.equal(state.x[:, 0].round().long(), state.energy_kwargs["y"])


@pytest.mark.parametrize("objective", ["contrastive", "particle", "dsm"])
def test_chains_start_at_data_of_their_class(objective):
    config = dataclasses.replace(CONFIG, objective=objective, restart_probability=0.5)
    state = make_trainer(config, DATA).state
    assert same_class(state)
    assert state.energy_kwargs["y"].bincount().tolist() == [16, 24, 8]
    assert len(state.x.unique(dim=0)) > 30  # of 120 rows


@pytest.mark.parametrize("buffer", [{}, {"buffer_size": 96}])
def test_restarted_chains_start_at_data_of_their_new_class(buffer):
    trainer = make_trainer(dataclasses.replace(CONFIG, restart_probability=0.5, **buffer), DATA)
    first = trainer.state.clone()
    trainer.chains.advance(0)
    assert not torch.equal(trainer.state.energy_kwargs["y"], first.energy_kwargs["y"])
    assert same_class(trainer.state)
    if buffer:
        assert same_class(trainer.chains.buffer)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8"])
def test_every_chain_of_a_buffer_starts_in_its_class(dtype):
    config = dataclasses.replace(CONFIG, chains=20, buffer_size=96, buffer_dtype=dtype)
    chains = make_trainer(config, DATA).chains
    assert same_class(chains.storage.fetched(chains.buffer, torch.device("cpu")))


def test_chains_with_labels_do_not_start_at_rows_of_a_file(tmp_path):
    np.save(tmp_path / "x.npy", ROWS.numpy())
    config = dataclasses.replace(CONFIG, init=str(tmp_path / "x.npy"))
    with pytest.raises(ValueError, match=r"init: expected noise, uniform or data in a conditional"):
        make_trainer(config, DATA)
    make_trainer(dataclasses.replace(config, conditional=False), DATA)


@pytest.mark.parametrize("init", ["noise", "uniform"])
def test_chains_with_labels_may_start_at_noise(init):
    state = make_trainer(dataclasses.replace(CONFIG, init=init), DATA).state
    assert not same_class(state)
    assert state.energy_kwargs["y"].bincount().tolist() == [16, 24, 8]
