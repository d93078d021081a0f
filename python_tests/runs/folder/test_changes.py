"""Runs go on with changes: which, what they do, and what is kept of them."""

import json
import math

import numpy as np
import pytest
import torch
from kill_and_resume import result
from run_parts import config, content, edit

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import load
from effebm_ext.runs.folder import checkpoint
from effebm_ext.runs.folder.checkpoints import Checkpoints
from effebm_ext.runs.folder.run_files import numbered
from effebm_ext.runs.model import load_model
from effebm_ext.runs.options.schedules import GeometricSteps
from effebm_ext.runs.trainer import make_trainer

RUN = ["--data", "two-moons", "--compressor", "block-sign:2", "--chains", 4, "--batch-size", 4,
       "--langevin-steps", 2, "--iterations", 6, "--checkpoint-every", 3, "--ais-steps", 0,
       "--width", 8, "--depth", 1]  # fmt: skip


@pytest.fixture
def run(effebm, tmp_path):
    """A run that has ended."""
    assert effebm("train", *RUN, "--out", tmp_path / "run")[0] == 0
    return tmp_path / "run"


def test_a_finished_run_is_prolonged(effebm, run):
    assert effebm("train", "--resume", run, "--iterations", 9)[0] == 0
    assert content(run)["trainer"]["iterations"] == 9
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 9
    (entry,) = json.loads((run / "history.json").read_text())
    assert (entry["iteration"], entry["changes"]) == (6, {"iterations": [6, 9]})
    assert content(run)["history"] == [entry]


def test_a_run_cannot_be_made_shorter_than_it_is(effebm, run):
    status, _, message = effebm("train", "--resume", run, "--iterations", 5)
    assert (status, "iterations: expected at least 6, which the run has" in message) == (2, True)
    assert config(run)["iterations"] == 6


def test_a_changed_learning_rate_follows_the_new_schedule(effebm, run):
    rate = ["--learning-rate", 0.004, "--learning-rate-schedule", "linear"]
    assert effebm("train", "--resume", run, *rate, "--iterations", 8)[0] == 0
    trainer = content(run)["trainer"]
    assert trainer["schedule"]["base_lrs"] == [0.004]
    assert trainer["optimizer"]["param_groups"][0]["lr"] == 0.0  # of the last iteration
    before = checkpoint.load(run / "checkpoint.pt")["trainer"]["energy"]
    assert effebm("train", "--resume", run, "--iterations", 16)[0] == 0
    rates = content(run)["trainer"]["optimizer"]["param_groups"][0]
    assert rates["initial_lr"] == 0.004
    assert any(not torch.equal(v, content(run)["trainer"]["energy"][k]) for k, v in before.items())


def test_the_rate_after_a_change_is_that_of_its_iteration(effebm, run):
    flags = ["--learning-rate", 0.004, "--iterations", 12, "--checkpoint-every", 1]
    assert effebm("train", "--resume", run, *flags, stop_after=2)[0] == 130
    trainer = content(run)["trainer"]
    share = 0.5 * (1 + math.cos(math.pi * trainer["iterations"] / 12))
    assert trainer["iterations"] == 7
    assert trainer["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.004 * share, rel=1e-12)


BUFFER = ["--buffer-size", 9]
WALKERS = ["--objective", "jarzynski", "--following-walkers", 3]
ANEW = ["--step-size-schedule", "iteration"]
MORE, FEWER = ["--langevin-steps", 3], ["--langevin-steps", 1]


@pytest.mark.parametrize(
    ("flags", "change", "made", "done"),
    [  # the steps made before the change, and what share of its schedule each later step has done
        ([], MORE, 12, [k / 24 for k in range(18, 24)]),
        ([], FEWER, 12, [6 / 8, 7 / 8]),
        (BUFFER, FEWER, 12, [6 / 8, 7 / 8]),
        (WALKERS, FEWER, 12, [6 / 8, 7 / 8]),
        ([*WALKERS, "--adjusted"], FEWER, 12, [6 / 8, 7 / 8]),
        (ANEW, MORE, 12, [0, 1 / 2, 1] * 2),
        (ANEW, FEWER, 12, [0, 0]),
        ([*ANEW, "--langevin-steps", 3], ["--langevin-steps", 4], 18, [0, 1 / 3, 2 / 3, 1] * 2),
        (["--objective", "dsm"], ["--checkpoint-every", 1], 4, [k / 16 for k in range(12, 16)]),
    ],
    ids=str,
)
def test_later_steps_have_the_sizes_of_their_iteration(
    effebm, tmp_path, monkeypatch, flags, change, made, done
):
    falling = [*flags, "--step-size", 0.01, "--step-size-end", 0.0001]
    assert effebm("train", *RUN, *falling, "--out", tmp_path / "run")[0] == 0
    assert content(tmp_path / "run")["trainer"]["chains"]["step"] == made
    seen, size_of = [], GeometricSteps.__call__

    def recorded(sizes, step):
        seen.append((step, size_of(sizes, step)))
        return seen[-1][1]

    monkeypatch.setattr(GeometricSteps, "__call__", recorded)
    assert effebm("train", "--resume", tmp_path / "run", "--iterations", 8, *change)[0] == 0
    later = [(step - made, size) for step, size in seen if step >= made]
    assert {step for step, _ in later} == set(range(len(done)))
    for step, size in later:
        assert size == pytest.approx(0.01 * 0.01 ** done[step])


@pytest.mark.parametrize(
    "flags",
    [
        ["--seed", 7],
        ["--step-size", 0.01, "--step-size-end", 0.002, "--langevin-steps", 3],
        ["--clip", "norm:0.1", "--max-grad-norm", 0.01, "--on-divergence", "restart"],
    ],
    ids=str,
)
def test_a_changed_run_is_another_and_resumes_to_the_bit(effebm, run, tmp_path, flags):
    longer = ["train", "--resume", run, "--iterations", 12]
    whole, files = tmp_path / "run", {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}

    def again():
        for name in ("history.json", "checkpoint.pt"):
            (whole / name).unlink(missing_ok=True)
        for name, octets in files.items():
            (whole / name).write_bytes(octets)

    assert effebm(*longer)[0] == 0
    unchanged = result(run)
    again()
    assert effebm(*longer, *flags)[0] == 0
    changed = result(run)
    assert changed[0] != unchanged[0]
    assert changed[1][:6] == unchanged[1][:6]
    again()
    assert effebm(*longer, *flags, stop_after=2)[0] == 130
    assert effebm("train", "--resume", run)[0] == 0
    assert result(run) == changed
    assert len(json.loads((run / "history.json").read_text())) == 1


@pytest.mark.parametrize("buffer", [[], ["--buffer-size", 9]])
def test_a_new_seed_keeps_data_and_held_out_rows(effebm, tmp_path, buffer):
    run = tmp_path / "run"
    assert effebm("train", *RUN, *buffer, "--seed", 3, "--out", run)[0] == 0
    assert effebm("train", "--resume", run, "--seed", 7, "--iterations", 9)[0] == 0
    assert (config(run)["seed"], config(run)["data_seed"]) == (7, 3)
    chains = content(run)["trainer"]["chains"]
    assert chains["key"]["seed"] == 7
    if buffer:
        assert chains["buffer"]["key"]["seed"] == 7


def test_what_shapes_a_run_is_refused_with_what_may_change(effebm, run):
    before = (run / "checkpoint.pt").read_bytes()
    for flags in (["--chains", 8], ["--objective", "dsm"], ["--holdout", 0.5], ["--data-seed", 1]):
        status, _, message = effebm("train", "--resume", run, *flags)
        assert status == 2
        assert f"the run keeps its own {flags[0]}; what may change is --seed, --learn" in message
    assert (run / "checkpoint.pt").read_bytes() == before
    assert not (run / "history.json").exists()


def test_step_sizes_stay_with_codes_that_depend_on_them(effebm, tmp_path):
    run, buffer = tmp_path / "run", ["--buffer-size", 9, "--buffer-dtype", "uint8"]
    assert effebm("train", *RUN, *buffer, "--out", run)[0] == 0
    status, _, message = effebm("train", "--resume", run, "--step-size", 0.5)
    assert (status, "cannot change with --buffer-dtype uint8" in message) == (2, True)


def test_an_edit_of_config_json_is_a_change_like_a_flag(effebm, run):
    edit(run, iterations=8, step_size=0.001)
    assert effebm("train", "--resume", run)[0] == 0
    (entry,) = json.loads((run / "history.json").read_text())
    assert entry["changes"] == {"iterations": [6, 8], "step_size": [0.005, 0.001]}
    assert content(run)["config"]["step_size"] == 0.001


@pytest.mark.parametrize("command", ["train", "sample", "evaluate"])
def test_an_edit_that_a_run_cannot_take_is_named(effebm, run, tmp_path, command):
    edit(run, holdout=0.5, compressor="topk:1")
    arguments = {
        "train": ["--resume", run],
        "sample": [run, "--out", tmp_path / "x.npy"],
        "evaluate": [run],
    }[command]
    status, _, message = effebm(command, *arguments)
    assert status == 2
    assert "holdout from 0.1 to 0.5" in message
    assert "a run cannot change compressor from block-sign:2 to topk:1" in message
    assert "config.json differs from the checkpoint" in message


def test_sample_and_evaluate_go_by_the_configuration_in_force(effebm, run):
    edit(run, step_size=0.25)
    assert load_model(run).config.step_size == 0.25
    assert load_model(run / "checkpoint.pt").config.step_size == 0.005


def test_a_run_finds_its_data_at_another_path(effebm, tmp_path):
    old, new, run = tmp_path / "old.npy", tmp_path / "new.npy", tmp_path / "run"
    np.save(old, np.random.default_rng(0).standard_normal((50, 2)).astype("float32"))
    assert effebm("train", *RUN, "--data", old, "--out", run)[0] == 0
    old.rename(new)
    status, _, message = effebm("train", "--resume", run)
    assert (status, "data: no such file" in message) == (2, True)
    assert effebm("train", "--resume", run, "--data", new)[0] == 0
    assert effebm("evaluate", run, "--ais-steps", 2)[0] == 0
    np.save(new, np.random.default_rng(1).standard_normal((50, 2)).astype("float32"))
    status, _, message = effebm("train", "--resume", run)
    said = f"effebm: error: data: {new} has changed since the run began\n"
    assert (status, message) == (2, said)  # and no line of progress


def test_other_data_than_those_of_the_run_are_named_so(effebm, tmp_path):
    mine, other, run = tmp_path / "mine.npy", tmp_path / "other.npy", tmp_path / "run"
    for seed, path in enumerate((mine, other)):
        np.save(path, np.random.default_rng(seed).standard_normal((50, 2)).astype("float32"))
    assert effebm("train", *RUN, "--data", mine, "--out", run)[0] == 0
    status, _, message = effebm("train", "--resume", run, "--data", other)
    said = f"effebm: error: data: {other} holds other data than the run\n"
    assert (status, message) == (2, said)  # and no line of progress


def test_a_run_that_diverged_is_told_what_to_try(effebm, tmp_path):
    run = tmp_path / "a run"
    flags = ["--step-size", 0.005, "--iterations", 30, "--energy", "mlp"]
    assert effebm("train", *RUN, *flags, "--out", run, stop_after=4)[0] == 130
    status, _, message = effebm("train", "--resume", run, "--step-size", 1e30)
    assert status == 2
    assert f"try effebm train --resume '{run}' --seed 1 --learning-rate 0.0005" in message
    cure = ["--seed", 1, "--learning-rate", 0.0005, "--step-size", 0.005]
    assert effebm("train", "--resume", run, *cure)[0] == 0


def test_the_last_checkpoints_are_kept(effebm, tmp_path):
    run = tmp_path / "run"
    flags = ["--checkpoint-every", 2, "--iterations", 9, "--keep-checkpoints", 3]
    assert effebm("train", *RUN, *flags, "--out", run)[0] == 0
    kept = sorted((run / "checkpoints").iterdir())
    assert [path.name for path in kept] == ["000006.pt", "000008.pt"]
    for path in kept:
        assert checkpoint.load(path)["trainer"]["iterations"] == int(path.stem)
    assert content(run)["trainer"]["iterations"] == 9
    want = result(run)
    assert effebm("train", "--resume", kept[0])[0] == 0
    assert result(run) == want
    assert effebm("train", "--resume", run, "--keep-checkpoints", 1)[0] == 0
    assert list((run / "checkpoints").iterdir()) == []


def test_the_last_checkpoints_are_kept_beyond_a_million(tmp_path):
    data = load("two-moons")
    config = TrainConfig(data="two-moons", keep_checkpoints=3, width=4).resolved(data.kind)
    trainer = make_trainer(config, data)
    checkpoints = Checkpoints(tmp_path, config, data, data.digest(), history=[])
    for trainer.iterations in (999_800, 999_900, 1_000_000, 1_000_100):
        checkpoints.save(trainer)
    kept = numbered(tmp_path, "checkpoints")
    assert [path.name for path in kept] == ["999900.pt", "1000000.pt"]


def test_the_best_checkpoint_is_kept(effebm, tmp_path):
    run = tmp_path / "run"
    flags = ["--evaluate-every", 1, "--ais-steps", 8, "--learning-rate", 0.05]
    assert effebm("train", *RUN, *flags, "--out", run)[0] == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = [m["cross_entropy_bennett"] for m in lines]
    best = checkpoint.load(run / "best.pt")
    assert best["best"] == min(found)
    assert best["trainer"]["iterations"] == 1 + found.index(min(found))
    assert content(run)["best"] == min(found)
    assert load_model(run / "best.pt").config.learning_rate == 0.05


def test_the_digest_of_the_data_is_computed_once(effebm, tmp_path, monkeypatch):
    from effebm_ext.runs.data.dataset import Dataset

    seen, digest = [], Dataset.digest

    def counted(dataset):
        seen.append(dataset)
        return digest(dataset)

    monkeypatch.setattr(Dataset, "digest", counted)
    assert effebm("train", *RUN, "--checkpoint-every", 1, "--out", tmp_path / "run")[0] == 0
    assert len(seen) == 1
