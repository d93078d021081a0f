"""Data take about as much memory as their file."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from effebm_ext.objectives import Contrastive
from effebm_ext.runs import TrainConfig, make_trainer
from effebm_ext.runs.data import array_files
from effebm_ext.runs.data import dataset as data
from effebm_ext.runs.data.dataset import Dataset, load

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (60, 3, 8, 8), dtype=np.uint8)
PEAK = """
import resource, sys
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
from effebm_ext.runs import TrainConfig, load, make_trainer
config = TrainConfig(chains=2, batch_size=4, langevin_steps=1, iterations=1, base="gaussian")
make_trainer(config, load("digits")).iteration()
before = peak()
dataset = load(sys.argv[1])
trainer = make_trainer(config, dataset)
dataset.digest(), trainer.iteration()
print(peak() - before)
"""


@pytest.mark.parametrize(("dtype", "share"), [(np.uint8, 2.2), (np.float32, 1.4)])
def test_the_peak_is_near_the_size_of_the_file(tmp_path, dtype, share):
    n = 2**26 // (3072 * np.dtype(dtype).itemsize)
    array = np.resize(np.array([0, 1, 2, 1], dtype), (n, 3, 32, 32))
    np.save(tmp_path / "x.npy", array)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "x.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < share * array.nbytes + 2**25


def test_pixels_stay_bytes_until_they_are_taken(tmp_path):
    np.save(tmp_path / "x.npy", PIXELS)
    dataset = load(str(tmp_path / "x.npy"))
    train, _ = dataset.split(0.25, seed=0)
    for rows in (dataset.rows, train.rows):
        assert rows.values.dtype == torch.uint8
        assert rows.values.data_ptr() == dataset.rows.values.data_ptr()
    assert torch.equal(dataset.x, torch.from_numpy(PIXELS).float() / 127.5 - 1)


def test_training_on_bytes_has_the_bits_of_numbers(tmp_path):
    np.save(tmp_path / "x.npy", PIXELS)
    as_bytes = load(str(tmp_path / "x.npy"))
    as_numbers = Dataset("x", as_bytes.x, True)
    config = TrainConfig(chains=4, langevin_steps=2, batch_size=8, width=8, base="gaussian",
                         restart_probability=0.5, buffer_size=6, buffer_dtype="uint8")  # fmt: skip
    one, other = (make_trainer(config, dataset) for dataset in (as_bytes, as_numbers))
    for _ in range(3):
        assert one.iteration() == other.iteration()
    assert isinstance(one.objective, Contrastive)
    assert torch.equal(one.state.x, other.state.x)
    for a, b in zip(one.energy.parameters(), other.energy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_digest_is_of_the_float32_values(tmp_path):
    y = np.arange(60) % 3
    np.savez(tmp_path / "x.npz", x=PIXELS, y=y)
    want = (PIXELS.astype(np.float32) / np.float32(127.5) - np.float32(1)).tobytes()
    assert load(str(tmp_path / "x.npz")).digest() == hashlib.sha256(want).hexdigest()
    want += y.astype(np.int64).tobytes()
    dataset = load(str(tmp_path / "x.npz"), labels=True)
    assert dataset.digest() == hashlib.sha256(want).hexdigest()


def test_the_digest_is_computed_once(monkeypatch):
    dataset, calls = load("digits"), []
    monkeypatch.setattr(data, "pieces", lambda rows: calls.append(rows) or [rows[:]])
    assert dataset.digest() == dataset.digest()
    assert len(calls) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, ">f4"])
def test_large_files_are_mapped(tmp_path, monkeypatch, dtype):
    path = tmp_path / "x.npy"
    np.save(path, PIXELS if dtype == np.uint8 else PIXELS.astype(dtype) / 128)
    whole = load(str(path))
    monkeypatch.setattr(array_files, "_MAPPED", 0)
    mapped = load(str(path))
    assert mapped.digest() == whole.digest()
    modes = []
    read = np.load
    monkeypatch.setattr(np, "load", lambda *a, **k: modes.append(k["mmap_mode"]) or read(*a, **k))
    load(str(path))
    monkeypatch.setattr(array_files, "_MAPPED", path.stat().st_size + 1)
    load(str(path))
    assert modes == ["c", None]


def test_values_that_are_not_finite_are_counted_in_all(tmp_path, monkeypatch):
    monkeypatch.setattr("effebm_ext.rows._PIECE", 7)
    x = np.ones((9, 5))
    x[[0, 3, 8], [1, 2, 4]] = np.nan, np.inf, -np.inf
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match="got 3 that are not"):
        load(str(tmp_path / "x.npy"))
