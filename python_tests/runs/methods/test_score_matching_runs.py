"""Training by score matching: from Python, from the command line, and resumed."""

import copy
import dataclasses
import json
import math
import signal

import pytest
import torch
from kill_and_resume import result

import effebm_ext as eff
from effebm_ext import losses
from effebm_ext.chains.intermittent import IntermittentChains
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.energies import score_of
from effebm_ext.objectives import ScoreMatching
from effebm_ext.objectives.score_matching import METHODS as SCORE_MATCHING
from effebm_ext.rng import Key, key_for
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.model import load_model
from effebm_ext.runs.showing import gallery
from effebm_ext.runs.trainer import make_dataset, make_trainer
from effebm_ext.runs.training.run_folder import RunFolder
from effebm_ext.runs.training.stopping import Stopped, Stopping
from effebm_ext.training import Trainer

TINY = ["--data", "rings", "--chains", "8", "--langevin-steps", "2", "--iterations", "10",
        "--batch-size", "4", "--checkpoint-every", "4", "--ais-steps", "3"]  # fmt: skip
POINTS = Dataset("points", torch.randn(50, 2, generator=torch.Generator().manual_seed(0)), False)
CONFIG = TrainConfig(
    data="points", chains=8, langevin_steps=2, iterations=10, batch_size=4, checkpoint_every=4
)
FORWARD_ONLY = ("fd-ssm", "fd-dsm")


class Precision(torch.nn.Module):
    """E(x) = exp(log_precision) * |x|^2 / 2."""

    def __init__(self):
        super().__init__()
        self.log_precision = torch.nn.Parameter(torch.tensor(-0.7))

    def forward(self, x):
        return self.log_precision.exp() * x.square().sum(1) / 2


def learned_precision(method, **options):
    """Of data of variance 4 in 16 dimensions, over the last iterations."""
    energy, dim = Precision(), 16
    data = 2 * torch.randn(4000, dim, generator=torch.Generator().manual_seed(0))
    sampler = eff.Langevin(energy, step_size=0.05)
    chains = IntermittentChains(PersistentChains(sampler, data[:4], rng=Key(0)), period=100)
    objective = ScoreMatching(energy, chains, method, key=Key(1), langevin_steps=2, **options)
    optimizer = torch.optim.Adam(energy.parameters(), lr=0.03, betas=(0.0, 0.9))
    generator = torch.Generator().manual_seed(0)
    trainer = Trainer(energy, optimizer, objective, data, batch_size=100, generator=generator)
    seen = []
    for _ in range(160):
        trainer.iteration()
        seen.append(energy.log_precision.exp().item())
    return sum(seen[80:]) / 80


@pytest.mark.parametrize("method", SCORE_MATCHING)
def test_training_finds_the_precision_of_gaussian_data(method):
    noise = 1.0 if method.endswith("dsm") else 0.0
    found = learned_precision(method, sigma=noise, epsilon=1.0)
    assert found == pytest.approx(1 / (4 + noise**2), rel=0.05)


@pytest.mark.parametrize("method", ["dsm", "fd-dsm"])
def test_several_scales_find_what_minimises_their_loss(method):
    """mean (y-x).y / (s0 s)^2 over mean |y|^2 / s^2, of y = x + s xi."""
    scales = torch.linspace(1.0, 2.0, 100, dtype=torch.float64)
    want = 1 / (1 + 4 * float((scales**-2).mean()))
    found = learned_precision(method, sigma=1.0, sigma_end=2.0, epsilon=1.0)
    assert found == pytest.approx(want, rel=0.05)
    assert abs(want - 0.2) > 0.05  # which one scale would have given


@pytest.mark.parametrize("method", SCORE_MATCHING)
def test_an_iteration_minimises_the_loss_of_its_name(method):
    """By the noise of its iteration; finite differences of energies by forward passes alone."""
    trainer = make_trainer(dataclasses.replace(CONFIG, objective=method), POINTS)
    seen, batches = [], []
    trainer.energy.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].requires_grad))
    draw = trainer._batch
    trainer._batch = lambda: batches.append(draw()) or batches[-1]
    found = [trainer.iteration() for _ in range(3)][-1]
    if method in FORWARD_ONLY:
        assert seen == [False] * 3
    trainer = make_trainer(dataclasses.replace(CONFIG, objective=method), POINTS)
    for _ in range(2):
        trainer.iteration()
    network = trainer.energy
    if method not in FORWARD_ONLY:
        network = score_of(network)
    options = {} if method == "sm" else {"rng": key_for("score matching", 0).at(3)}
    if method.startswith("fd"):
        options["epsilon"] = 0.1
    if method.endswith("dsm"):
        options["sigma"] = 0.1
    want = getattr(losses, method.replace("-", "_"))(network, batches[2][0], **options).loss
    assert found["loss"] == float(want.detach())


def test_chains_move_once_per_checkpoint():
    trainer = make_trainer(dataclasses.replace(CONFIG, objective="fd-ssm"), POINTS)
    steps, gaps = [], []
    for _ in range(10):
        metrics = trainer.iteration()
        steps.append(trainer.chains.state.step)
        gaps.append("energy_gap" in metrics)
        assert {"data_energy", "score_norm", "trace", "loss"} <= metrics.keys()
        assert metrics["loss"] == pytest.approx(metrics["score_norm"] + metrics["trace"], rel=1e-4)
        if gaps[-1]:
            gap = metrics["sample_energy"] - metrics["data_energy"]
            assert metrics["energy_gap"] == pytest.approx(gap, abs=1e-6)
    assert steps == [0, 0, 0, 2, 2, 2, 2, 4, 4, 4]
    assert gaps == [step in (3, 7) for step in range(10)]
    # a run too short for a checkpoint has samples of its last iteration
    short = dataclasses.replace(CONFIG, objective="fd-ssm", iterations=3, checkpoint_every=100)
    trainer = make_trainer(short, POINTS)
    for _ in range(3):
        trainer.iteration()
    assert trainer.chains.state.step == 2


def test_step_sizes_fall_with_the_steps_that_are_made():
    config = dataclasses.replace(CONFIG, objective="dsm", step_size=0.16, step_size_end=0.01)
    step_size = config.step_sizes()
    assert [step_size(s) for s in (0, 2, 4, 5)] == pytest.approx([0.16, 0.04, 0.01, 0.01])


def test_the_noise_is_none_of_the_chains():
    trainer = make_trainer(dataclasses.replace(CONFIG, objective="fd-dsm"), POINTS)
    assert trainer.objective.key == key_for("score matching", 0)
    assert trainer.chains.state.key == Key(0)
    seeds = {key_for(purpose, seed).seed for purpose in ("score matching", "b") for seed in (0, 1)}
    assert len(seeds | {0, 1}) == 6
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_intermittent_chains_are_checked():
    chains = PersistentChains(eff.Langevin(Precision(), step_size=0.1), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="period: expected at least 1, got 0"):
        IntermittentChains(chains, 0)
    with pytest.raises(TypeError, match=r"chains: expected Intermittent.*, got PersistentChains"):
        ScoreMatching(Precision(), chains, "ssm", key=Key(0), langevin_steps=1)
    chains = IntermittentChains(chains, 1)
    with pytest.raises(ValueError, match=r"method: expected sm, ssm, .* got 'fd_ssm'"):
        ScoreMatching(Precision(), chains, "fd_ssm", key=Key(0), langevin_steps=1)
    for sigma in (None, 0.0):
        with pytest.raises(ValueError, match=r"sigma: expected a .*number > 0"):
            ScoreMatching(Precision(), chains, "fd-dsm", key=Key(0), langevin_steps=1, sigma=sigma)


@pytest.mark.parametrize("method", SCORE_MATCHING)
def test_the_command_line_trains_samples_and_evaluates(effebm, tmp_path, method):
    run = tmp_path / "run"
    status, _, progress = effebm("train", "--objective", method, *TINY, "--out", run)
    assert status == 0, progress
    assert "loss " in progress
    assert "energy gap" not in progress
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert ["energy_gap" in line for line in lines] == [i in (4, 8) for i in range(1, 11)]
    noise = 0.1 if method.endswith("dsm") else 0.0
    assert load_model(run).config.data_noise == noise
    assert json.loads((run / "evaluation.json").read_text())["data_noise"] == noise


@pytest.mark.parametrize("options", [["fd-ssm", "--restart-probability", "0.5"],
                                     ["fd-dsm", "--noise-end", "1", "--conditional",
                                      "--buffer-size", "20"]])  # fmt: skip
def test_a_resumed_run_equals_an_uninterrupted_one(effebm, tmp_path, options):
    command, run = ["train", *TINY, "--objective", *options, "--out"], tmp_path / "run"
    assert effebm(*command, tmp_path / "whole")[0] == 0
    assert effebm(*command, run, stop_after=6)[0] == 130
    assert effebm("train", "--resume", run)[0] == 0
    assert result(run) == result(tmp_path / "whole")
    assert effebm("sample", run, "--steps", 2, "--denoise", "--out", tmp_path / "x.npy")[0] == 0


def test_a_run_whose_chains_have_not_moved_says_so(effebm, tmp_path):
    run, out = tmp_path / "run", tmp_path / "x.npy"
    config = dataclasses.replace(CONFIG, objective="dsm", data="rings", checkpoint_every=100)
    data = make_dataset(config)
    with pytest.raises(Stopped), Stopping() as stopping:
        RunFolder(run).train(
            config,
            data,
            make_trainer(config, data),
            progress=lambda m: m["iteration"] == 3 and signal.raise_signal(signal.SIGTERM),
            stopping=stopping,
        )
    assert load_model(run).state.step == 0
    said = "the run stopped before its chains first moved, and they are still where they started"
    assert f"left them ({said})" in effebm("sample", run, "--out", out)[1]
    assert effebm("evaluate", run, "--ais-steps", 2)[1].startswith(f"Caution: {said}. ")
    assert not list(run.glob("samples/*.png"))
    assert effebm("train", "--resume", run)[0] == 0
    assert said not in effebm("sample", run, "--out", out)[1]


def test_a_trainer_goes_on_at_any_iteration():
    config = dataclasses.replace(CONFIG, objective="fd-dsm")
    whole = make_trainer(config, POINTS)
    for _ in range(3):
        whole.iteration()
    again = make_trainer(config, POINTS)
    again.load_state_dict(copy.deepcopy(whole.state_dict()))
    for _ in range(2):
        assert whole.iteration() == again.iteration()
    assert torch.equal(whole.chains.state.x, again.chains.state.x)
    assert whole.chains.state.step == again.chains.state.step == 2


def test_pictures_of_denoising_runs_are_without_the_noise(effebm, tmp_path, monkeypatch):
    taken, denoise = [], gallery.denoise
    monkeypatch.setattr(
        gallery,
        "denoise",
        lambda e, x, noise, kw: taken.append(noise) or denoise(e, x, noise, kw),
    )
    options = ["--objective", "fd-dsm", "--data-noise", "0.25"]
    assert effebm("train", *TINY, *options, "--out", tmp_path / "run")[0] == 0
    assert set(taken) == {0.25}


def test_data_noise_is_added_once():
    """To the batch by the trainer, or by the loss where it takes it off again."""
    noisy = {
        method: make_trainer(
            dataclasses.replace(CONFIG, objective=method, data_noise=0.5), POINTS
        ).data_noise
        for method in SCORE_MATCHING
    }
    assert noisy == {m: 0.0 if m in ("dsm", "fd-dsm") else 0.5 for m in SCORE_MATCHING}
    trainer = make_trainer(dataclasses.replace(CONFIG, objective="dsm", data_noise=0.5), POINTS)
    assert trainer.objective.sigma == 0.5
    assert math.isfinite(trainer.iteration()["loss"])


def test_batches_have_the_classes_of_the_data_and_not_of_the_chains():
    labels = torch.arange(50) % 10
    dataset = dataclasses.replace(POINTS, labels=labels)
    config = dataclasses.replace(
        CONFIG, objective="fd-dsm", conditional=True, chains=2, batch_size=50
    )
    trainer = make_trainer(config, dataset)
    data, given = trainer._batch()
    assert len(given["y"].unique()) == 10
    rows = torch.cdist(data, trainer.data[:]).argmin(1)
    assert torch.equal(given["y"], trainer.labels[rows])
