"""Runs whose chains start from a file find the file from every folder, also where it moves to."""

import numpy as np
import pytest
from run_parts import config, content, edit

from effebm_ext.runs.folder import checkpoint

RUN = ["--data", "two-moons", "--compressor", "block-sign:2", "--chains", 4, "--batch-size", 4,
       "--langevin-steps", 2, "--iterations", 6, "--ais-steps", 0,
       "--width", 8, "--depth", 1]  # fmt: skip


@pytest.fixture
def started_from_a_file(effebm, tmp_path, monkeypatch):
    """The folder of a run whose chains start from a file that was given by a relative path."""
    monkeypatch.chdir(tmp_path)
    np.save("starts.npy", np.random.default_rng(0).standard_normal((3, 2)).astype("float32"))
    assert effebm("train", *RUN, "--init", "starts.npy", "--out", "run")[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "run"


def test_a_file_of_starts_is_found_from_every_folder(effebm, started_from_a_file):
    run = started_from_a_file
    assert config(run)["init"] == str(run.parent / "starts.npy")
    assert effebm("train", "--resume", run, "--iterations", 8)[0] == 0
    again = ["--config", run / "config.json", "--out", run.parent / "again"]
    assert effebm("train", *again)[0] == 0


@pytest.mark.parametrize("how", ["flag", "config.json"])
def test_a_run_finds_its_starts_at_another_path(effebm, started_from_a_file, how):
    run, new = started_from_a_file, started_from_a_file.parent / "new.npy"
    (run.parent / "starts.npy").rename(new)
    status, _, error = effebm("train", "--resume", run)
    expected = "init: expected noise, uniform, data or a .npy file, got "
    assert (status, expected in error) == (2, True)
    if how == "config.json":
        edit(run, init=str(new))
    flags = ["--init", "../new.npy"] if how == "flag" else []
    assert effebm("train", "--resume", run, "--iterations", 8, *flags)[0] == 0
    assert content(run)["config"]["init"] == str(new)


def test_earlier_runs_name_starts_by_a_relative_path(effebm, started_from_a_file, monkeypatch):
    run = started_from_a_file
    kept = content(run)
    kept["config"]["init"] = "starts.npy"
    checkpoint.save(run / "checkpoint.pt", kept)
    edit(run, init="starts.npy")
    status, _, error = effebm("train", "--resume", run)
    assert (status, "a .npy file, got 'starts.npy'" in error) == (2, True)
    monkeypatch.chdir(run.parent)
    assert effebm("train", "--resume", "run", "--iterations", 8)[0] == 0
    assert config(run)["init"] == str(run.parent / "starts.npy")
