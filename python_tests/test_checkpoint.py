import os

import pytest
import torch

from effebm_ext import checkpoint

CONTENT = {"x": torch.arange(5.0), "step": 3, "names": ["a", "b"], "none": None}


def test_round_trip(tmp_path):
    path = tmp_path / "c.pt"
    checkpoint.save(path, CONTENT)
    loaded = checkpoint.load(path)
    assert torch.equal(loaded.pop("x"), CONTENT["x"])
    assert {k: loaded[k] for k in ("step", "names", "none")} == {
        "step": 3,
        "names": ["a", "b"],
        "none": None,
    }
    assert os.listdir(tmp_path) == ["c.pt"]


def test_a_failed_write_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "c.pt"
    checkpoint.save(path, CONTENT)

    def half_written(payload, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {"step": 4})
    assert checkpoint.load(path)["step"] == 3
    assert os.listdir(tmp_path) == ["c.pt"]


def test_truncated_files_are_refused_at_every_length(tmp_path):
    path, cut = tmp_path / "c.pt", tmp_path / "cut.pt"
    checkpoint.save(path, CONTENT)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(checkpoint.CheckpointError, match="truncated or not a checkpoint"):
            checkpoint.load(cut)


class Foreign:
    pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": torch.zeros(2)}, "was not written by effebm_ext"),
        ([1, 2], "was not written by effebm_ext"),
        ({"format": "effebm_ext checkpoint", "version": 99}, "expected version 1 .* got 99"),
        ({"format": "effebm_ext checkpoint"}, "expected version 1 .* got None"),
        ({"format": "effebm_ext checkpoint", "x": Foreign()}, "truncated or not a checkpoint"),
    ],
)
def test_foreign_files_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "f.pt")
    with pytest.raises(checkpoint.CheckpointError, match=message):
        checkpoint.load(tmp_path / "f.pt")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="checkpoint: no such file"):
        checkpoint.load(tmp_path / "none.pt")
