"""Damaged and missing files cost a run as little as they can, and a full disk is told."""

import errno
import os

import pytest
import torch
from kill_and_resume import result

from effebm_ext.runs import atomic_files
from effebm_ext.runs.atomic_files import DiskFullError, naming_a_full_disk, replacing
from effebm_ext.runs.command_line import commands
from effebm_ext.runs.folder import checkpoint

RUN = ["--data", "two-moons", "--compressor", "block-sign:2", "--chains", 4, "--batch-size", 4,
       "--langevin-steps", 2, "--iterations", 8, "--checkpoint-every", 3, "--ais-steps", 0,
       "--width", 8, "--depth", 1]  # fmt: skip


@pytest.fixture
def interrupted(effebm, tmp_path):
    """A run with a checkpoint of its third iteration."""
    assert effebm("train", *RUN, "--out", tmp_path / "run", stop_after=5)[0] == 130
    return tmp_path / "run"


@pytest.fixture
def whole(effebm, tmp_path):
    assert effebm("train", *RUN, "--out", tmp_path / "whole")[0] == 0
    return result(tmp_path / "whole")


LINE = b'{"iteration": 3, "seconds": "long"}\n'


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (lambda lines: None, [4, 5, 6, 7, 8]),
        (lambda lines: [], [4, 5, 6, 7, 8]),
        (lambda lines: lines[:2], [1, 2, 4, 5, 6, 7, 8]),
        (lambda lines: [*lines[:2], lines[2][:9]], [1, 2, 4, 5, 6, 7, 8]),
        (lambda lines: [b"\xff\n", b"{}\n", LINE], [4, 5, 6, 7, 8]),
        (lambda lines: [lines[0], lines[0], *lines[1:]], [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
    ids=["missing", "empty", "short", "torn", "damaged", "twice"],
)
def test_a_checkpoint_goes_on_without_its_metrics(effebm, interrupted, whole, damage, left):
    path = interrupted / "metrics.jsonl"
    lines = damage(path.read_bytes().splitlines(keepends=True))
    if lines is None:
        path.unlink()
    else:
        path.write_bytes(b"".join(lines))
    status, _, error = effebm("train", "--resume", interrupted)
    assert status == 0
    assert (f"{path} lacks {8 - len(left)} of 3 iterations" in error) == (len(left) < 8)
    trainer, metrics = result(interrupted)
    assert trainer == whole[0]
    assert [line["iteration"] for line in metrics] == left
    assert metrics == [whole[1][i - 1] for i in left]


def test_a_finished_run_without_metrics_draws_no_curves(effebm, tmp_path):
    assert effebm("train", *RUN, "--out", tmp_path)[0] == 0
    (tmp_path / "metrics.jsonl").unlink()
    assert effebm("train", "--resume", tmp_path)[0] == 0
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_a_missing_configuration_is_that_of_the_checkpoint(effebm, interrupted, whole):
    config = (interrupted / "config.json").read_bytes()
    (interrupted / "config.json").unlink()
    assert effebm("train", "--resume", interrupted)[0] == 0
    assert result(interrupted) == whole
    assert (interrupted / "config.json").read_bytes() == config


DAMAGED = ["config.json missing", "metrics.jsonl", "environment.json"]


@pytest.mark.parametrize("damage", DAMAGED)
def test_what_resume_tolerates_does_not_fail_evaluate(effebm, tmp_path, damage):
    run, file = tmp_path / "run", tmp_path / "run" / damage.split()[0]
    assert effebm("train", *RUN, "--out", run)[0] == 0
    (run / "report.html").unlink()
    config = (run / "config.json").read_bytes()
    if "missing" in damage:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes() + b'{"iteration": 9, "sec')
    status, _, error = effebm("evaluate", run, "--ais-steps", 2)
    assert (status, error) == (0, "")
    assert "8 of 8 iterations" in (run / "report.html").read_text()
    assert (run / "config.json").read_bytes() == config


def test_a_damaged_evaluation_does_not_fail_a_finished_run(effebm, tmp_path):
    run = tmp_path / "run"
    assert effebm("train", *RUN, "--out", run)[0] == 0
    (run / "evaluation.json").write_bytes(b"{")
    status, _, error = effebm("train", "--resume", run, "--quiet")
    assert (status, error) == (0, "")


def test_the_metrics_are_on_disk_before_the_checkpoint(effebm, tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def watched(descriptor):
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    if not os.path.exists("/proc/self/fd"):
        pytest.skip("asks Linux for the name of a file")
    monkeypatch.setattr(os, "fsync", watched)
    assert effebm("train", *RUN, "--out", tmp_path / "run")[0] == 0
    kinds = [name if name == "metrics.jsonl" else os.path.splitext(name)[1] for name in synced]
    checkpoints = [i for i, kind in enumerate(kinds) if kind == ".pt"]
    assert len(checkpoints) == 3
    for last, i in zip([0, *checkpoints], checkpoints, strict=False):
        assert "metrics.jsonl" in kinds[last:i]


class Small:
    """A file on a disk that has room for a few bytes."""

    def __init__(self, file, room=600):
        self.file, self.room = file, room

    def write(self, content):
        self.room -= len(bytes(content))
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(content)

    def flush(self):
        self.file.flush()


def test_a_checkpoint_that_has_no_room_names_file_and_space(tmp_path, monkeypatch):
    path, save = tmp_path / "c.pt", torch.save
    checkpoint.save(path, {"x": torch.zeros(3)})
    monkeypatch.setattr(torch, "save", lambda payload, file: save(payload, Small(file)))
    with pytest.raises(DiskFullError, match=rf"no room for {path}, which needs 4 MB; its disk has"):
        checkpoint.save(path, {"x": [torch.zeros(10**6)], "n": 1})  # torch's is a RuntimeError
    assert os.listdir(tmp_path) == ["c.pt"]
    assert torch.equal(checkpoint.load(path)["x"], torch.zeros(3))


@pytest.mark.parametrize("error", [RuntimeError("other"), OSError(errno.EIO, "other")])
def test_other_errors_are_not_of_a_full_disk(tmp_path, error):
    with pytest.raises(type(error), match="other"), naming_a_full_disk(tmp_path / "x"):
        raise error


@pytest.mark.parametrize("command", ["train", "sample"])
def test_a_full_disk_is_one_line_and_leaves_no_file(effebm, tmp_path, monkeypatch, command):
    run, out = tmp_path / "run", tmp_path / "x.npy"
    assert effebm("train", *RUN, "--out", run)[0] == 0
    before = {path.name for path in run.iterdir()}

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    if command == "sample":
        monkeypatch.setattr(commands.np, "save", full)
        status, _, error = effebm("sample", run, "--out", out)
        named = out
    else:
        monkeypatch.setattr(torch, "save", full)
        status, _, error = effebm("train", "--resume", run, "--iterations", 9)
        named = run / "checkpoint.pt"
    assert status == 2
    assert f"effebm: error: disk: there is no room for {named}, which needs " in error
    assert {path.name for path in run.iterdir()} == before
    assert not out.exists()


def test_a_picture_that_has_no_room_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(
        atomic_files.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2_000_000})
    )
    path = tmp_path / "x.png"

    def write():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFullError, match=f"no room for {path}; its disk has 2 MB free"):
        write()
    assert os.listdir(tmp_path) == []
