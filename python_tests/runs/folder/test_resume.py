"""Interrupted training goes on to the bit, or says why it cannot."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from kill_and_resume import result

from effebm_ext.runs.folder import checkpoint

RUN = ["--data", "two-moons", "--compressor", "block-sign:2", "--chains", "4", "--batch-size", "4",
       "--langevin-steps", "2", "--iterations", "10", "--checkpoint-every", "3",
       "--ema-decay", "0.9", "--step-size-end", "0.001", "--evaluate-every", "2",
       "--ais-steps", "4"]  # fmt: skip


@pytest.fixture
def interrupted(effebm, tmp_path):
    """Makes a run that stops after some iterations."""

    def make(iterations, *options):
        command = ["train", "--out", tmp_path / "run", *RUN, *options]
        assert effebm(*command, stop_after=iterations)[0] == 130
        return tmp_path / "run"

    return make


@pytest.fixture
def whole(effebm, tmp_path):
    assert effebm("train", "--out", tmp_path / "whole", *RUN)[0] == 0
    return result(tmp_path / "whole")


@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 9, 10])
def test_a_resumed_run_equals_an_uninterrupted_one(effebm, interrupted, whole, iterations):
    run = interrupted(iterations)
    assert effebm("train", "--resume", run)[0] == 0
    assert result(run) == whole
    assert (run / "samples.png").exists()
    assert (run / "curves.png").exists()


@pytest.mark.parametrize("iterations", [2, 7])
def test_a_resumed_conditional_run_has_the_same_labels(effebm, interrupted, tmp_path, iterations):
    options = ["--conditional", "--buffer-size", "9", "--restart-probability", "0.3"]
    assert effebm("train", "--out", tmp_path / "whole", *RUN, *options)[0] == 0
    run = interrupted(iterations, *options)
    assert effebm("train", "--resume", run)[0] == 0
    assert result(run) == result(tmp_path / "whole")
    chains = checkpoint.load(run / "checkpoint.pt")["trainer"]["chains"]
    assert chains["energy_kwargs"]["y"].shape == (4,)
    assert chains["buffer"]["energy_kwargs"]["y"].shape == (9,)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "uint8"])
def test_a_resumed_buffer_of_short_numbers_goes_on(effebm, interrupted, tmp_path, dtype):
    options = ["--buffer-size", "9", "--buffer-dtype", dtype, "--buffer-device", "cpu"]
    assert effebm("train", "--out", tmp_path / "whole", *RUN, *options)[0] == 0
    run = interrupted(7, *options)
    assert effebm("train", "--resume", run)[0] == 0
    assert result(run) == result(tmp_path / "whole")
    buffer = checkpoint.load(run / "checkpoint.pt")["trainer"]["chains"]["buffer"]
    assert buffer["x"].dtype == getattr(torch, dtype)


def test_resuming_a_finished_run_changes_nothing(effebm, tmp_path, whole):
    before = (tmp_path / "whole" / "checkpoint.pt").read_bytes()
    assert effebm("train", "--resume", tmp_path / "whole")[0] == 0
    assert result(tmp_path / "whole") == whole
    assert (tmp_path / "whole" / "checkpoint.pt").read_bytes() == before


def test_kills_at_random_moments():
    script = Path(__file__).parents[2] / "kill_and_resume.py"
    done = subprocess.run(
        [sys.executable, script, "--kills", "5"], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all equal" in done.stdout


@pytest.mark.parametrize("flag", [["--chains", "5"], ["--out", "x"], ["--overwrite"]])
def test_a_resumed_run_has_its_own_configuration(effebm, interrupted, flag):
    status, _, message = effebm("train", "--resume", interrupted(4), *flag)
    assert status == 2
    assert f"resume: the run keeps its own {flag[0]}; what may change is --seed, " in message


def test_what_holds_no_run_is_not_resumed(effebm, tmp_path):
    status, _, message = effebm("train", "--resume", tmp_path)
    assert (status, "holds no run" in message) == (2, True)
    status, _, message = effebm("train")
    assert (status, "expected --out FOLDER, or --resume RUN" in message) == (2, True)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("config.json", b"{", "config.json is not a configuration"),
        ("config.json", b'{"colour": 1}', "config.json is not a configuration"),
        ("checkpoint.pt", b"PK", "truncated or not a checkpoint"),
    ],
)
def test_damaged_runs_are_refused(effebm, interrupted, name, content, expected):
    run = interrupted(4)
    (run / name).write_bytes(content)
    status, _, message = effebm("train", "--resume", run)
    assert status == 2
    assert expected in message


def test_the_checkpoint_of_another_run_is_refused(effebm, interrupted, tmp_path):
    run = interrupted(4)
    content = checkpoint.load(run / "checkpoint.pt")
    content["trainer"]["chains"]["x"] = content["trainer"]["chains"]["x"][:2]
    checkpoint.save(run / "checkpoint.pt", content)
    status, _, message = effebm("train", "--resume", run)
    assert status == 2
    assert "is not of this run: chains: expected shape (4, 2), got (2, 2)" in message


def test_an_optimiser_without_its_averages_is_refused(effebm, interrupted):
    run = interrupted(4)
    content = checkpoint.load(run / "checkpoint.pt")
    del content["trainer"]["optimizer"]["state"][2]["exp_avg_sq"]
    checkpoint.save(run / "checkpoint.pt", content)
    status, _, message = effebm("train", "--resume", run)
    assert status == 2
    assert "checkpoint.pt is not of this run: optimizer: expected exp_avg_sq of shape" in message
    assert "for parameter 2, got None" in message


@pytest.mark.parametrize("part", ["energy", "ema"])
def test_parameters_that_are_not_finite_are_refused(effebm, interrupted, part, tmp_path):
    run = interrupted(4)
    content = checkpoint.load(run / "checkpoint.pt")
    name, value = next((n, v) for n, v in content["trainer"][part].items() if v.dim() == 2)
    value[0, 1] = float("nan")
    checkpoint.save(run / "checkpoint.pt", content)
    name = name.removeprefix("module.")
    want = f"checkpoint.pt has values in {name} that are not finite"
    for command in (["train", "--resume", run], ["evaluate", run],
                    ["sample", run, "--out", tmp_path / "x.npy"]):  # fmt: skip
        status, _, message = effebm(*command)
        if part == "ema" or command[0] == "train":  # the others read the average alone
            assert (status, want in message) == (2, True), message
        else:
            assert (status, message) == (0, "")


def test_other_labels_are_refused(effebm, interrupted, tmp_path):
    file, x = tmp_path / "data.npz", np.random.default_rng(0).standard_normal((50, 2))
    np.savez(file, x=x, y=np.arange(50) % 2)
    run = interrupted(4, "--data", file, "--conditional")
    np.savez(file, x=x, y=np.arange(50) // 25)
    status, _, message = effebm("train", "--resume", run)
    assert status == 2
    assert "has changed since the run began" in message


def test_other_data_are_refused(effebm, interrupted, tmp_path):
    file = tmp_path / "data.npy"
    np.save(file, np.random.default_rng(0).standard_normal((50, 2)))
    run = interrupted(4, "--data", file)
    np.save(file, np.random.default_rng(1).standard_normal((50, 2)))
    status, _, message = effebm("train", "--resume", run)
    assert status == 2
    assert "has changed since the run began" in message
