"""Runs repeated from the config.json of another run, and the number of threads of a call."""

import json

import pytest
import torch

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import IMAGES
from effebm_ext.runs.folder import checkpoint

TINY = ["--data", "rings", "--chains", 4, "--langevin-steps", 2, "--iterations", 4,
        "--batch-size", 4, "--checkpoint-every", 2, "--ais-steps", 2]  # fmt: skip


def metrics(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def same_parameters(one, other):
    a, b = (checkpoint.load(run / "checkpoint.pt")["trainer"]["energy"] for run in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "flags",
    [
        ["--conditional", "--data-noise", 0.1, "--width", 8, "--buffer-size", 16, "--seed", 5],
        ["--objective", "jarzynski", "--adjusted", "--resampling", "stratified"],
        ["--verbatim", "--step-size-end", 1e-3],
        ["--objective", "fd-dsm", "--learning-rate", 1 / 3],
    ],
    ids=str,
)
def test_a_run_repeats_from_its_config_json(effebm, tmp_path, flags):
    run, again, changed = (tmp_path / name for name in ("run", "again", "changed"))
    assert effebm("train", *TINY, *flags, "--out", run)[0] == 0
    config = ["train", "--config", run / "config.json", "--out"]
    status, _, error = effebm(*config, again)
    assert status == 0, error
    assert (again / "config.json").read_bytes() == (run / "config.json").read_bytes()
    assert metrics(again) == metrics(run)
    assert same_parameters(again, run)
    assert effebm(*config, changed, "--seed", 1)[0] == 0
    configs = [json.loads((path / "config.json").read_text()) for path in (run, changed)]
    assert configs[1] == {**configs[0], "seed": 1}
    assert metrics(changed) != metrics(run)
    assert not same_parameters(changed, run)


def test_a_run_that_ends_in_its_warm_up_warns(effebm, tmp_path):
    run, again = tmp_path / "run", tmp_path / "again"
    noisy = ["--data-noise", 0.1, "--denoising-weight", 1, "--warm-up", 3]
    caution = "Caution: the run stopped before its chains first moved, and they are still where "
    status, printed, error = effebm("train", *TINY, *noisy, "--out", run)
    assert (status, caution in printed, "warm_up" in error) == (0, False, False)
    shorter = ["--config", run / "config.json", "--iterations"]
    status, printed, error = effebm("train", *shorter, 3, "--out", again)
    assert status == 0
    warning = "warm_up: expected less than iterations, 3, got 3: the run ends in its warm-up, and "
    assert f"effebm: warning: {warning}its chains never move\n" in error
    assert f"{caution}they started. " in printed
    status, printed, error = effebm("train", "--resume", again, "--iterations", 4)
    assert (status, caution in printed, "warm_up" in error) == (0, False, False)


@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("energy", [None, "conv"])
def test_chains_move_by_default_however_short_a_run_is(iterations, energy):
    config = TrainConfig(iterations=iterations, energy=energy).resolved(IMAGES)
    assert not config.chains_never_move


def test_flags_take_back_the_switches_of_a_file(effebm, tmp_path):
    file, run = tmp_path / "c.json", tmp_path / "run"
    file.write_text(json.dumps({"conditional": True, "error_feedback": None, "step_size": None}))
    assert effebm("train", *TINY, "--config", file, "--no-conditional", "--out", run)[0] == 0
    config = json.loads((run / "config.json").read_text())
    assert (config["conditional"], config["error_feedback"], config["step_size"]) == (
        False, True, 0.005,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        ("{", [], "c.json is not a JSON file: "),
        ("[1]", [], "expected names and values in {file}, got [1]"),
        ('{"colour": 1}', [], "{file} has names that are no options: ['colour']"),
        ('{"chains": 1.5}', [], "{file}: chains: expected an int, got 1.5"),
        ('{"chains": null, "seed": "x"}', [], "{file}: seed: expected an int, got 'x'"),
        ('{"step_size": NaN}', [], "{file}: step_size: expected a finite number > 0, got nan"),
        ('{"objective": "x"}', [], "{file}: objective: expected contrastive, "),
        ('{"energy_l2": 0.1}', ["--objective", "ssm"], "{file}: energy_l2: expected none with"),
        ('{"threads": "2"}', [], "{file}: threads: expected an int, got '2'"),
        (None, [], "config: expected a file, {file} is a folder"),
    ],
)
def test_bad_json_files_are_refused_by_name(effebm, tmp_path, content, flags, message):
    file = tmp_path / "c.json"
    if content is None:
        file.mkdir()
    else:
        file.write_text(content)
    status, _, error = effebm("train", "--config", file, *flags, "--out", tmp_path / "run")
    assert (status, len(error.splitlines())) == (2, 1)
    assert error.startswith("effebm: error: config: ")
    assert message.format(file=file) in error
    assert not (tmp_path / "run").exists()


def test_an_error_of_a_flag_does_not_blame_the_file(effebm, tmp_path):
    file = tmp_path / "c.json"
    file.write_text('{"seed": 1, "chains": 0}')
    status, _, error = effebm("train", "--config", file, "--chains", -1, "--out", tmp_path / "r")
    assert (status, error) == (
        2, "effebm: error: chains: expected a finite number > 0, got -1\n",
    )  # fmt: skip


def test_threads_are_those_of_the_call_alone(effebm, tmp_path):
    run, before = tmp_path / "run", torch.get_num_threads()
    n = before + 1
    assert effebm("train", *TINY, "--threads", n, "--out", run)[0] == 0
    assert json.loads((run / "environment.json").read_text())["threads"] == n
    assert torch.get_num_threads() == before
    assert "threads" not in json.loads((run / "config.json").read_text())
    assert effebm("train", "--resume", run, "--threads", n)[0] == 0
    status, _, error = effebm("train", *TINY, "--threads", 0, "--out", run)
    assert (status, "--threads" in error) == (2, True)


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_sample_and_evaluate_take_threads(effebm, tmp_path, monkeypatch, command):
    from effebm_ext.runs.command_line import commands

    run, before, seen = tmp_path / "run", torch.get_num_threads(), []
    assert effebm("train", *TINY, "--out", run)[0] == 0
    load_model = commands.load_model

    def watched(path):
        seen.append(torch.get_num_threads())
        return load_model(path)

    monkeypatch.setattr(commands, "load_model", watched)
    out = ["--out", tmp_path / "x.npy"] if command == "sample" else []
    assert effebm(command, run, "--threads", before + 1, *out)[0] == 0
    assert (seen, torch.get_num_threads()) == ([before + 1], before)
