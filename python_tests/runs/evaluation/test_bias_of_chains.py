"""What runs and evaluations say of the bias of their chains."""

import dataclasses
import json

import pytest
import torch
from helpers import normal

import effebm_ext as eff
from effebm_ext.evaluation import kernel_stein_discrepancy, virial
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.evaluation.bias import bias_of_chains, stein_discrepancy
from effebm_ext.runs.evaluation.evaluate import evaluate
from effebm_ext.runs.evaluation.results import Evaluation
from effebm_ext.runs.evaluation.saved import read_evaluation, save_evaluation
from effebm_ext.runs.trainer import make_trainer

RUN = ["--data", "rings", "--chains", 16, "--batch-size", 16, "--ais-steps", 0,
       "--langevin-steps", 2]  # fmt: skip
DATA = Dataset("x", normal(200, 2), False)


def gaussian(x):
    return x.square().sum(1) / 2


def test_runs_log_the_virial_of_their_chains_and_ksd_at_checkpoints(effebm, tmp_path):
    flags = ["--iterations", 6, "--checkpoint-every", 2]
    assert effebm("train", *RUN, *flags, "--out", tmp_path / "a")[0] == 0
    metrics = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").open()]
    assert all("virial" in m for m in metrics)
    assert [m["iteration"] for m in metrics if "ksd" in m] == [2, 4, 6]


@pytest.mark.parametrize(
    ("flags", "seen"),
    [
        (["--objective", "jarzynski"], {"virial", "ksd"}),
        (["--objective", "dsm"], {"virial", "ksd"}),
        (["--bounds=-2:2"], set()),
        (["--noise-std", "0.01"], set()),
    ],
)
def test_checkpoints_of_other_methods_have_what_their_chains_have(effebm, tmp_path, flags, seen):
    few = ["--iterations", 2, "--checkpoint-every", 2]
    status, _, error = effebm("train", *RUN, *few, *flags, "--out", tmp_path / "a")
    assert status == 0, error
    metrics = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").open()]
    assert [{"virial", "ksd"} & set(m) for m in metrics] == [set(), seen]


@pytest.mark.parametrize("compressor", ["none", "topk:1"])
def test_the_metric_of_an_iteration_is_that_of_its_last_step(compressor):
    config = TrainConfig(data="x", chains=8, langevin_steps=1, compressor=compressor, seed=3)
    trainer = make_trainer(config, DATA)
    centre = trainer.chains.sampler.virial_centre
    assert torch.equal(centre, trainer.data[:].mean(0))
    for _ in range(2):
        x, model = trainer.state.x.clone(), trainer.energy
        gradient = eff.energies.energy_and_gradient(model, x)[1]
        seen = trainer.iteration()["virial"]
        assert seen == pytest.approx(virial(x, gradient, centre=centre).value, rel=1e-5)


def test_the_metrics_of_checkpoints_are_those_of_the_chains_and_change_nothing():
    config = TrainConfig(data="x", chains=8, langevin_steps=1).resolved(DATA.kind)
    trainer = make_trainer(config, DATA)
    assert bias_of_chains(config, trainer) == {}  # the chains have not moved
    trainer.iteration()
    before, generator = trainer.state.x.clone(), torch.get_rng_state()
    found = bias_of_chains(config, trainer)
    gradient = eff.energies.energy_and_gradient(trainer.energy, before)[1]
    assert found["ksd"] == kernel_stein_discrepancy(before, -gradient).ksd
    assert found["virial"] == virial(before, gradient).value
    assert torch.equal(trainer.state.x, before)
    assert torch.equal(torch.get_rng_state(), generator)
    trainer.state.x[0] = torch.inf
    assert bias_of_chains(config, trainer) == {}


def test_copies_of_chains_have_no_discrepancy():
    x = normal(6, 2)
    assert stein_discrepancy(x, x) is not None
    assert stein_discrepancy(torch.cat([x, x[:1]]), torch.cat([x, x[:1]])) is None
    assert stein_discrepancy(x[:1], x[:1]) is None


def test_an_evaluation_has_the_discrepancy_of_its_samples():
    config = TrainConfig(data="x", data_noise=0.0, holdout=0.5, ais_steps=50)
    got = evaluate(config, DATA, gaussian, normal(128, 2, seed=1))
    assert abs(got.ksd) < 3 * got.ksd_error
    line = next(line for line in got.table().splitlines() if line.startswith("KSD (0 if settled)"))
    assert f" {got.ksd:.3g} ± {got.ksd_error:.2g} (p = {got.ksd_p_value:.3f})" in line
    wrong = evaluate(config, DATA, gaussian, 3 + 0.1 * normal(128, 2, seed=1), n_steps=1)
    assert (wrong.ksd > 10 * wrong.ksd_error, wrong.ksd_p_value < 0.01) == (True, True)
    one = evaluate(config, DATA, gaussian, normal(128, 2), n_chains=1, n_steps=5)
    assert one.ksd is None
    assert "KSD" not in one.table()
    assert "± unknown" in next(line for line in one.table().splitlines() if "virial" in line)


def test_the_discrepancy_of_two_samples_has_no_error(tmp_path):
    config = TrainConfig(data="x", data_noise=0.0, holdout=0.5)
    got = evaluate(config, DATA, gaussian, normal(128, 2), n_chains=2, n_steps=5)
    assert f"{got.ksd:.3g} ± unknown (p = {got.ksd_p_value:.3f})" in got.table()
    file = tmp_path / "evaluation.json"
    save_evaluation(file, got)
    assert json.loads(file.read_text())["ksd_error"] is None
    assert read_evaluation(file) == got


def test_evaluations_of_earlier_releases_have_no_discrepancy():
    config = TrainConfig(data="x", data_noise=0.0, holdout=0.5)
    got = evaluate(config, DATA, gaussian, normal(8, 2), n_steps=2, n_chains=8)
    saved = {name: v for name, v in dataclasses.asdict(got).items() if not name.startswith("ksd")}
    assert "KSD" not in Evaluation(**saved).table()
