"""A source of data that has no known form is told what it was meant to be."""

import re

import numpy as np
import pytest
from PIL import Image

from effebm_ext.runs.data.dataset import load
from effebm_ext.runs.model import load_model


def save_picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("a/0.png", "images"),
        ("none.txt", "images"),
        ("train-images-idx3-ubyte", "mnist"),
        ("MNIST/raw/train-images-idx3-ubyte.gz", "mnist"),
        ("data_batch_1.bin", "cifar10"),
        ("cifar-10-batches-py/data_batch_1", "cifar10"),
    ],
)
def test_a_folder_is_told_its_prefix(tmp_path, name, prefix):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    message = re.escape(f"got '{tmp_path}': did you mean {prefix}:{tmp_path}?")
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path))


def test_a_folder_that_is_to_be_resized_is_told_its_prefix(effebm, tmp_path):
    for i in range(9):
        save_picture(tmp_path / "photos" / f"{i}.png")
    run, tiny = tmp_path / "run", ["--iterations", 1, "--ais-steps", 0, "--langevin-steps", 1]
    images = ["--data", f"images:{tmp_path / 'photos'}", "--resize", 8, "--chains", 2]
    assert effebm("train", *images, *tiny, "--out", run)[0] == 0
    (tmp_path / "photos").rename(tmp_path / "moved")
    status, _, message = effebm("train", "--resume", run, "--data", tmp_path / "moved")
    assert status == 2
    assert f"a folder of images is written images:{tmp_path / 'moved'}" in message


@pytest.mark.parametrize(
    ("source", "meant"),
    [
        ("digit", "did you mean digits?"),
        ("two-moon", "did you mean two-moons?"),
        ("image:pics", "did you mean images:pics?"),
        ("fashion_mnist:pics", "did you mean fashion-mnist:pics?"),
        ("images:", "expected a folder after images:"),
        ("x.csv", 'convert it by numpy.save("x.npy", numpy.loadtxt("x.csv", delimiter=",", '
                  "skiprows=1))"),
        ("x.txt", 'convert it by numpy.save("x.npy", numpy.loadtxt("x.txt"))'),
    ],
)  # fmt: skip
def test_other_sources_are_told_what_they_may_mean(source, meant):
    with pytest.raises(ValueError, match=re.escape(f"got {source!r}: {meant}") + "$"):
        load(source)


def test_a_picture_is_told_of_folders(tmp_path):
    save_picture(tmp_path / "x.png")
    with pytest.raises(ValueError, match="a folder of images is written images:FOLDER"):
        load(str(tmp_path / "x.png"))


def test_the_conversion_of_a_table_gives_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).standard_normal((5, 2))
    np.savetxt("x.csv", rows, delimiter=",", header="a,b")
    with pytest.raises(ValueError, match="convert it by ") as error:
        load("x.csv")
    exec(str(error.value).partition("convert it by ")[2], {"numpy": np})
    assert np.array_equal(load("x.npy").x, rows.astype(np.float32))


def test_a_run_that_is_no_option_is_told_so(effebm, tmp_path):
    run = tmp_path / "run"
    tiny = ["--iterations", 1, "--ais-steps", 0, "--langevin-steps", 1, "--chains", 2]
    assert effebm("train", "--data", "rings", *tiny, "--out", run)[0] == 0
    status, _, message = effebm("train", run)
    assert (status, f"did you mean --resume {run}?" in message) == (2, True)


def test_a_run_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(FileNotFoundError, match=f"^run: {path} holds no run$"):
            load_model(path)
    (tmp_path / "config.json").touch()
    with pytest.raises(FileNotFoundError, match=f"^run: {tmp_path} has no checkpoint yet$"):
        load_model(tmp_path)
