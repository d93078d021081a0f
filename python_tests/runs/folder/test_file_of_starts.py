"""Runs whose chains start from a file find the file from every folder, also where it moves to."""

import numpy as np
import pytest
import torch
from run_parts import config, content, edit

from effebm_ext.runs.data.dataset import load
from effebm_ext.runs.folder import checkpoint
from effebm_ext.runs.methods.starts import rows_of_starts
from effebm_ext.runs.model import load_model

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
    expected = "init: expected noise, uniform, data or a .npy or .npz file, got "
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
    assert (status, "a .npy or .npz file, got 'starts.npy'" in error) == (2, True)
    monkeypatch.chdir(run.parent)
    assert effebm("train", "--resume", "run", "--iterations", 8)[0] == 0
    assert config(run)["init"] == str(run.parent / "starts.npy")


PIXELS = np.arange(5 * 8 * 8, dtype=np.uint8).reshape(5, 8, 8)
NUMBERS = np.linspace(-1, 1, 5 * 3, dtype=np.float32).reshape(5, 3)


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize(
    "array",
    [PIXELS, PIXELS[:, None], PIXELS[..., None].repeat(3, 3), PIXELS.astype(int), NUMBERS],
    ids=["grey", "a channel", "channels last", "int64", "numbers"],
)
def test_a_file_means_the_same_as_data_and_as_starts(tmp_path, name, array):
    path = str(tmp_path / name)
    np.save(path, array) if name == "x.npy" else np.savez(path, x=array, y=np.arange(5))
    data = load(path)
    assert torch.equal(rows_of_starts(path, data.rows)[:], data.x)


def test_chains_that_start_at_pixels_are_scaled_as_data(effebm, tmp_path):
    np.save(tmp_path / "x.npy", PIXELS)
    flags = ["--init", tmp_path / "x.npy", "--chains", 8, "--batch-size", 2, "--iterations", 1,
             "--langevin-steps", 1, "--step-size", 1e-6, "--ais-steps", 0]  # fmt: skip
    source = ["train", "--data", tmp_path / "x.npy", "--out", tmp_path / "run"]
    assert effebm(*source, *flags)[0] == 0
    x, scaled = load_model(tmp_path / "run").state.x[:, None], torch.tensor(PIXELS / 127.5 - 1)
    assert float((x - scaled[:, None]).abs().amax((2, 3, 4)).amin(1).max()) < 0.1


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("x.npy", lambda p: p.touch(), "init: {} is not a readable .npy file: "),
        ("x.npz", lambda p: p.touch(), "init: {} is not a readable .npz file: "),
        ("x.npz", lambda p: np.savez(p, a=NUMBERS, b=NUMBERS), "init: expected one array in {}, "),
        ("x.npy", lambda p: np.save(p, np.array(["a"])), "init: expected numbers in {}, got dtype"),
        ("x.npy", lambda p: np.save(p, NUMBERS), "init: expected shape (m, 2) in {}, got (5, 3)"),
        ("x.npz", lambda p: np.savez(p, NUMBERS), "init: expected shape (m, 2) in {}, got (5, 3)"),
        ("x.txt", lambda p: np.savetxt(p, NUMBERS), "a .npy or .npz file, got '{}'"),
    ],
)
def test_a_bad_file_of_starts_is_an_error_of_init(effebm, tmp_path, name, write, message):
    path = tmp_path / name
    write(path)
    status, _, error = effebm("train", *RUN, "--init", path, "--out", tmp_path / "run")
    assert (status, len(error.splitlines())) == (2, 1)
    assert error.startswith("effebm: error: init: ")
    assert message.format(path) in error
    assert not (tmp_path / "run").exists()
