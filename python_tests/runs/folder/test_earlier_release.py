"""Runs that an earlier release made are read, and go on."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from effebm_ext.runs.model import load_model
from effebm_ext.runs.showing.report_page import write_report
from effebm_ext.runs.training.run_folder import RunFolder

# Made by `effebm train --data two-moons --energy mlp --width 4 --depth 1 --chains 4 --batch-size 4
# --langevin-steps 2 --iterations 4 --checkpoint-every 2 --ema-decay 0.5 --step-size-end 0.002
# --ais-steps 2` before configurations had a format, recipes and a seed of the data. Its
# evaluation.json was made before there was Bennett's estimate.
EARLIER = Path(__file__).parent / "earlier_release"


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(EARLIER, tmp_path / "run"))


def test_an_earlier_run_is_read(run):
    model = load_model(run)
    assert model.state.x.shape == (4, 2)
    assert model.state.step == 8
    assert model.sample(4, 3).isfinite().all()
    config = RunFolder(run, resume=True).config()
    assert (config.iterations, config.step_size_end, config.seed_of_data) == (4, 0.002, 0)
    assert (config.temperature, config.init, config.bounds) == (1, "noise", "none")


def test_an_earlier_run_goes_on(effebm, run):
    before = (run / "metrics.jsonl").read_text()
    status, _, error = effebm("train", "--resume", run, "--iterations", 6)
    assert status == 0, error
    assert "warning" not in error
    after = (run / "metrics.jsonl").read_text()
    assert [json.loads(line)["iteration"] for line in after.splitlines()] == [1, 2, 3, 4, 5, 6]
    assert list(map(json.loads, after.splitlines()[:4])) == list(
        map(json.loads, before.splitlines())
    )
    (change,) = json.loads((run / "history.json").read_text())
    assert change["changes"] == {"iterations": [4, 6]}
    assert load_model(run).state.step == 12


def test_an_earlier_evaluation_is_shown(run):
    page = write_report(run).read_text()
    assert "2.03 and 1.65 bits per dimension (2.82 ± 0.16 and 2.29 ± 0.53 nats) by forward" in page
    assert "cross-entropy, reverse" in page
    assert "cross-entropy, Bennett" not in page


def test_an_earlier_run_is_evaluated(effebm, run):
    status, shown, error = effebm("evaluate", run)
    assert (status, error) == (0, "")
    assert "cross-entropy, Bennett" in shown
    content = torch.load(run / "checkpoint.pt", weights_only=True)
    assert "data_seed" not in content["config"]
