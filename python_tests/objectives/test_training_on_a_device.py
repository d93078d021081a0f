"""Training by every method on the device under test: nothing is left on the CPU by mistake."""

import dataclasses
import math

import pytest
import recorded_graphs
import stand_in
import torch
from helpers import assert_same_bits, normal

from effebm_ext.objectives.score_matching import METHODS as SCORE_MATCHING
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.folder import checkpoint
from effebm_ext.runs.folder.environment import environment
from effebm_ext.runs.trainer import make_trainer
from effebm_ext.samplers import captured

LABELLED = Dataset("points", normal(60, 2), False, labels=torch.arange(60) % 3)
TINY = TrainConfig(
    data="points", chains=8, langevin_steps=2, iterations=6, batch_size=4, evaluate_every=3,
    ais_steps=3, ema_decay=0.5,
)  # fmt: skip
RUNS = [
    *({"objective": objective} for objective in ("jarzynski", "particle", *SCORE_MATCHING)),
    {"compressor": "topk:1", "error_feedback": True, "clip": "norm:1"},
    {"conditional": True, "buffer_size": 32, "restart_probability": 0.5},
    {"objective": "jarzynski", "adjusted": True, "moved_chains": 4, "compressor": "block-sign:2"},
    {"objective": "particle", "step_correction": True, "particle_move": "beta"},
    {"objective": "dsm", "data_noise": 0.1, "noise_end": 0.5},
]


def devices(value):
    """The devices of all tensors in what a run is saved as, without the states of generators,
    which are of the CPU on every device."""
    if isinstance(value, torch.Tensor):
        return {value.device}
    if isinstance(value, dict):
        value = [part for name, part in value.items() if name != "generator"]
    found = (devices(part) for part in value if isinstance(part, (dict, list, tuple, torch.Tensor)))
    return set().union(*found)


@pytest.mark.parametrize("options", RUNS, ids=lambda run: " ".join(map(str, run.values())))
def test_a_run_stays_on_its_device_and_goes_on_from_a_file(device, options, tmp_path):
    config = dataclasses.replace(TINY, device=str(device), **options)
    trainer = make_trainer(config, LABELLED)
    for _ in range(3):
        metrics = trainer.iteration()
    assert all(map(math.isfinite, metrics.values()))
    state = trainer.state_dict()
    assert devices(state["chains"]) == devices(trainer.model.state_dict()) == {device}
    checkpoint.save(tmp_path / "state", state)
    resumed = make_trainer(config, LABELLED)
    resumed.load_state_dict(checkpoint.load(tmp_path / "state"))
    assert devices(resumed.state_dict()["chains"]) == {device}
    want, got = trainer.iteration(), resumed.iteration()
    assert got == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("options", [
    {"compressor": "topk:1", "step_size_end": 0.001, "on_divergence": "restart"},
    {"conditional": True, "buffer_size": 32, "restart_probability": 0.5},
    {"objective": "particle"},
], ids=str)  # fmt: skip
def test_captured_chains_train_as_others_do(device, options, monkeypatch):
    if device == stand_in.DEVICE:
        monkeypatch.setattr(captured, "Graphs", recorded_graphs.Graphs)
    trainers = [
        make_trainer(
            dataclasses.replace(TINY, device=str(device), cuda_graph=graph, **options), LABELLED
        )
        for graph in (False, True)
    ]
    for _ in range(4):
        want, got = (trainer.iteration() for trainer in trainers)
        assert got == want
    assert_same_bits(trainers[1].state.x, trainers[0].state.x)
    steps = [environment(trainer)["steps"] for trainer in trainers]
    assert steps == [None, "captured" if device.type == "cuda" else "uncaptured"]
