"""Step sizes of runs, and that the trainers of runs can be sent to other processes."""

import copy
import pickle

import pytest
import torch
from helpers import assert_same_bits

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import load
from effebm_ext.runs.options.schedules import GeometricSteps
from effebm_ext.runs.trainer import make_trainer


def test_steps_fall_geometrically_and_stay():
    sizes = GeometricSteps(0.8, 0.1, 3)
    assert [sizes(k) for k in range(5)] == pytest.approx([0.8, 0.4, 0.2, 0.1, 0.1])


def test_steps_may_begin_anew():
    sizes = GeometricSteps(0.8, 0.2, 2, period=3)
    assert [sizes(k) for k in range(6)] == pytest.approx([0.8, 0.4, 0.2] * 2)


def test_a_new_run_needs_an_end_for_a_schedule(effebm, tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('step_size_schedule = "iteration"')
    message = "step_size_schedule: expected none without a step_size_end, "
    given = ["--step-size-schedule", "iteration"]
    for flags, told in ((given, message), (["--config", file], f"config: {file}: {message}")):
        status, _, error = effebm("train", *flags, "--out", tmp_path / "run")
        assert status == 2
        assert error.startswith(f"effebm: error: {told}")
    TrainConfig(step_size_schedule="iteration")  # as an earlier run may have it


@pytest.mark.parametrize("warm_up", [0, 4])
def test_the_last_steps_of_a_run_have_about_its_last_size(warm_up):
    config = TrainConfig(
        data="rings", energy="mlp", width=4, chains=4, batch_size=4, langevin_steps=2,
        iterations=8, step_size=0.01, step_size_end=0.0001, data_noise=0.1, denoising_weight=1.0,
        warm_up=warm_up,
    )  # fmt: skip
    trainer = make_trainer(config, load("rings"))
    for _ in range(8):
        trainer.iteration()
    sizes, steps = trainer.chains.sampler.step_size, trainer.state.step
    assert steps == 2 * (8 - warm_up)
    assert sizes(0) == 0.01
    assert sizes(steps // 2) == pytest.approx(0.001)
    assert sizes(steps) == pytest.approx(0.0001)
    assert sizes(steps - 1) > sizes(steps)


def test_a_run_that_is_all_warm_up_has_its_first_step_size():
    options = {"data_noise": 0.1, "denoising_weight": 1.0, "step_size": 0.01}
    config = TrainConfig(**options, step_size_end=0.0001, iterations=3, warm_up=5, langevin_steps=2)
    assert config.step_sizes()(0) == config.step_size_after(3) == 0.01


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_trainers_of_runs_can_be_copied(copied):
    config = TrainConfig(
        data="rings", energy="mlp", width=4, chains=4, batch_size=4, langevin_steps=2,
        iterations=4, ema_decay=0.5, step_size_end=0.001, buffer_size=8, restart_probability=0.5,
    )  # fmt: skip
    trainer = make_trainer(config, load("rings"))
    trainer.iteration()
    other = copied(trainer)
    for _ in range(2):
        assert trainer.iteration() == other.iteration()
    for a, b in zip(trainer.model.parameters(), other.model.parameters(), strict=True):
        assert_same_bits(a, b)
    assert torch.equal(trainer.state.x, other.state.x)
