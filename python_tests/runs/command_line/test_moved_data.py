"""Runs whose data have moved, and paths as people type them."""

import json
import shutil

import numpy as np
import pytest
import torch

from effebm_ext.runs import TrainConfig, load_model
from effebm_ext.runs.data.dataset import load
from effebm_ext.runs.data.sources import absolute

TINY = ["--iterations", 2, "--ais-steps", 0, "--langevin-steps", 1, "--batch-size", 4, "--chains",
        4, "--holdout", 0.2]  # fmt: skip
QUICK = ["--ais-steps", 3, "--ais-chains", 4]


def save(path, seed=0):
    np.save(path, np.random.default_rng(seed).standard_normal((50, 2)))


@pytest.fixture
def run(effebm, tmp_path, monkeypatch):
    """A run in the folder ``proj`` on the file ``mine.npy`` there, from another folder."""
    (tmp_path / "proj").mkdir()
    save(tmp_path / "proj" / "mine.npy")
    monkeypatch.chdir(tmp_path / "proj")
    assert effebm("train", *TINY, "--data", "mine.npy", "--out", "run")[0] == 0
    monkeypatch.chdir(tmp_path)
    return tmp_path / "proj" / "run"


def test_a_run_is_used_from_every_folder(effebm, run, tmp_path):
    want = str(tmp_path / "proj" / "mine.npy")
    assert json.loads((run / "config.json").read_text())["data"] == want
    assert load_model(run).config.data == want
    save(tmp_path / "mine.npy", seed=1)  # other data of this name
    assert effebm("evaluate", run, *QUICK)[0] == 0


def test_an_evaluation_says_where_it_looked_and_takes_a_place(effebm, run, tmp_path):
    there, elsewhere = tmp_path / "proj" / "mine.npy", tmp_path / "elsewhere.npy"
    _, want, _ = effebm("evaluate", run, *QUICK)
    shutil.move(there, elsewhere)
    status, _, message = effebm("evaluate", run, *QUICK)
    assert status == 2
    assert f"no such file: {there}; if the data have moved, say where to with --data" in message
    assert effebm("evaluate", run, *QUICK, "--data", "elsewhere.npy") == (0, want, "")


def test_a_place_that_is_typed_is_not_asked_for(effebm, run, tmp_path):
    gone, move = tmp_path / "gone.npy", "; if the data have moved, say where to with --data\n"
    (tmp_path / "proj" / "mine.npy").unlink()
    typed = ["--data", gone]
    for command in (["train", *TINY, "--out", "a"], ["train", "--resume", run], ["evaluate", run]):
        status, _, message = effebm(*command, *typed)
        assert (status, message) == (2, f"effebm: error: data: no such file: {gone}\n")
    config = ["train", "--config", run / "config.json", "--out", "a"]
    for command in (["train", "--resume", run], ["evaluate", run], config):
        assert effebm(*command)[2].endswith(move)


def test_an_evaluation_on_other_data_is_refused(effebm, run, tmp_path):
    save(tmp_path / "other.npy", seed=1)
    status, _, message = effebm("evaluate", run, *QUICK, "--data", tmp_path / "other.npy")
    assert status == 2
    assert f"data: {tmp_path / 'other.npy'} holds other data than the run" in message
    assert not (run / "evaluation.json").exists()


def test_a_folder_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source in ("images:gone", "cifar10:gone", "mnist:gone"):
        with pytest.raises(FileNotFoundError, match=f"no such folder: {tmp_path}/gone$"):
            load(source)


def test_sources_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    for source, want in (
        ("x.npy", f"{tmp_path}/x.npy"),
        ("../x.npz", f"{tmp_path.parent}/x.npz"),
        ("~/x.npy", "/home/me/x.npy"),
        ("images:~/pics", "images:/home/me/pics"),
        ("mnist:data", f"mnist:{tmp_path}/data"),
        ("digits", "digits"),
        ("rings", "rings"),
        ("permuted", "permuted"),
        ("images:", "images:"),
    ):
        assert absolute(source) == want
        assert absolute(want) == want
        assert TrainConfig(data=source).resolved("points").data == want


def test_the_home_folder_in_every_path(effebm, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "x.npy")
    (tmp_path / "c.toml").write_text('data = "~/x.npy"')
    flags = ["--config", "~/c.toml", "--out", "~/run", *TINY]
    assert effebm("train", *flags)[0] == 0
    assert effebm("train", "--resume", "~/run")[0] == 0
    assert effebm("evaluate", "~/run", *QUICK, "--data", "~/x.npy")[0] == 0
    assert effebm("sample", "~/run", "--out", "~/s.npy")[0] == 0
    assert np.isfinite(np.load(tmp_path / "s.npy")).all()
    assert not (tmp_path / "~").exists()
    assert torch.equal(load("~/x.npy").x, load(str(tmp_path / "x.npy")).x)
