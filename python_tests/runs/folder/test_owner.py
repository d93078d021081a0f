"""A run folder has one owner, and nothing that is not its own is replaced."""

import errno
import io
import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from effebm_ext.runs import atomic_files
from effebm_ext.runs.atomic_files import DiskFullError, left_behind, replacing
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import load
from effebm_ext.runs.folder.lock import LOCK, FolderInUseError, RunLock
from effebm_ext.runs.trainer import make_trainer
from effebm_ext.runs.training.run_folder import RunFolder

TINY = ["--data", "rings", "--chains", 4, "--langevin-steps", 1, "--iterations", 2,
        "--batch-size", 4, "--ais-steps", 0, "--width", 8, "--depth", 1]  # fmt: skip


def ended():
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def owned(folder, **owner):
    owner = {"host": socket.gethostname(), "process": os.getpid(), "began": None, **owner}
    (folder / LOCK).write_text(json.dumps(owner))


def test_two_processes_do_not_train_in_one_folder(effebm, tmp_path):
    run = tmp_path / "run"
    assert effebm("train", *TINY, "--out", run)[0] == 0
    with RunLock(run):
        for command in (["--out", run, "--overwrite", *TINY], ["--resume", run]):
            status, _, error = effebm("train", *command)
            assert status == 2
            assert f"lock: process {os.getpid()} on {socket.gethostname()} trains in {run}" in error
            assert f"if no such process runs, remove {run / LOCK} and try again" in error
    assert effebm("train", "--resume", run)[0] == 0
    assert not (run / LOCK).exists()


def test_a_run_that_was_made_meanwhile_is_not_replaced(tmp_path):
    config = TrainConfig(
        data="rings", chains=4, langevin_steps=1, iterations=1, batch_size=4, ais_steps=0
    )
    dataset = load("rings")
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    first.train(config, dataset, make_trainer(config, dataset))
    with pytest.raises(FileExistsError, match="already holds a run"):
        second.train(config, dataset, make_trainer(config, dataset))


def test_the_lock_of_a_process_that_has_ended_is_taken_over(tmp_path):
    process = ended()
    (tmp_path / "samples").mkdir()
    remains = [tmp_path / f".effebm-{process}-1.pt", tmp_path / "samples" / f".effebm-{process}-2"]
    for path in remains:
        path.touch()
    assert left_behind(tmp_path, process) == remains[:1]
    owned(tmp_path, process=process)
    with RunLock(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
    assert not any(path.exists() for path in [*remains, tmp_path / LOCK])


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="asks Linux when one began")
def test_a_new_process_of_an_old_number_does_not_own_the_lock(tmp_path):
    owned(tmp_path, began="1")
    with RunLock(tmp_path):
        pass


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="asks Linux for its state")
def test_an_ended_process_that_nobody_waited_for_owns_nothing(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        stat = f"/proc/{process.pid}/stat"
        began = open(stat).read().rpartition(")")[2].split()[19]  # noqa: SIM115
        owned(tmp_path, process=process.pid, began=began)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with RunLock(tmp_path):
            pass


@pytest.mark.parametrize(
    ("content", "who"),
    [
        ({"host": "elsewhere", "process": 1}, "process 1 on elsewhere"),
        ({"process": os.getppid()}, f"process {os.getppid()} on"),
    ],
)
def test_the_lock_of_a_process_that_may_live_holds(tmp_path, content, who):
    with RunLock(tmp_path):  # tells how this process is written
        began = json.loads((tmp_path / LOCK).read_text())["began"]
    if began is not None and "host" not in content:
        with open(f"/proc/{os.getppid()}/stat") as stat:
            content["began"] = stat.read().rpartition(")")[2].split()[19]
    owned(tmp_path, **content)
    with pytest.raises(FolderInUseError, match=who), RunLock(tmp_path):
        pass
    assert (tmp_path / LOCK).exists()


def test_a_lock_without_content_holds(tmp_path):
    (tmp_path / LOCK).touch()
    with pytest.raises(FolderInUseError, match="another process trains"), RunLock(tmp_path):
        pass


@pytest.mark.parametrize("is_taken_over", [False, True])
def test_a_lock_has_its_content_from_the_first_moment(tmp_path, is_taken_over, monkeypatch):
    """A process that is killed while it locks leaves no lock without content, which would hold for
    ever."""
    if is_taken_over:
        owned(tmp_path, process=ended())
    seen = []

    def looking(call):
        def look(*arguments):
            path = tmp_path / LOCK
            seen.append(path.read_text() if path.exists() else None)
            return call(*arguments)

        return look

    for name in ("link", "replace", "open", "unlink"):
        monkeypatch.setattr(os, name, looking(getattr(os, name)))
    with RunLock(tmp_path):
        monkeypatch.undo()
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
    assert len(seen) > 0
    assert all(text is None or json.loads(text)["host"] for text in seen)


def test_a_file_system_without_links_has_locks_too(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", no_links)
    with RunLock(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
        with pytest.raises(FolderInUseError), RunLock(tmp_path):
            pass


def test_no_room_leaves_no_lock_without_links_either(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "no links")

    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, "full")

    def made(path, mode):
        open(path, mode).close()
        return Full()

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(atomic_files, "open", made, raising=False)
    with (
        pytest.raises(DiskFullError, match=r"disk: there is no room for .*lock"),
        RunLock(tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_take_a_lock_over_one_gets_it(tmp_path):
    owned(tmp_path, process=ended())
    got, refused, all_tried = [], [], threading.Barrier(8)

    def take():
        try:
            with RunLock(tmp_path):
                got.append(1)
                all_tried.wait(60)
        except FolderInUseError:
            refused.append(1)
            all_tried.wait(60)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 7)


def test_writers_of_one_file_have_temporary_files_of_their_own(tmp_path):
    path = tmp_path / "x.txt"
    with replacing(path) as one, replacing(path) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["x.txt"]


FOREIGN = {"config.json": '{"model": "mine"}', "metrics.jsonl": "notes", "curves.png": "picture",
           "notes.txt": "more"}  # fmt: skip


@pytest.mark.parametrize("names", [["config.json"], ["metrics.jsonl"], ["curves.png"], [*FOREIGN]])
@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_what_is_no_run_is_never_replaced(effebm, tmp_path, names, flags):
    for name in names:
        (tmp_path / name).write_text(FOREIGN[name])
    status, _, error = effebm("train", *TINY, "--out", tmp_path, *flags)
    assert status == 2
    assert f"out: {tmp_path} holds no run of effebm_ext, but {names[0]}, which a run would" in error
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        name: FOREIGN[name] for name in names
    }


def test_numbered_pictures_of_others_are_not_replaced(effebm, tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "000001.png").write_text("mine")
    status, _, error = effebm("train", *TINY, "--out", tmp_path)
    assert (status, "but 000001.png, which" in error) == (2, True)
    assert (tmp_path / "samples" / "000001.png").read_text() == "mine"


def test_overwrite_removes_what_a_run_wrote_and_no_more(effebm, tmp_path):
    flags = ["--checkpoint-every", 1, "--keep-checkpoints", 2, "--evaluate-every", 1]
    first = [*TINY, *flags, "--ais-steps", 4, "--out", tmp_path]
    assert effebm("train", *first)[0] == 0
    assert effebm("train", "--resume", tmp_path, "--seed", 2)[0] == 0
    wrote = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"best.pt", "checkpoints/000001.pt", "history.json"} <= wrote
    own = ["notes.txt", "samples/mine.png", "samples/7.png", "checkpoints/other.pt"]
    for name in own:
        (tmp_path / name).write_text("mine")
    assert effebm("train", *TINY, "--iterations", 1, "--out", tmp_path, "--overwrite")[0] == 0
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"config.json", "environment.json", "metrics.jsonl", "checkpoint.pt",
                    "samples.png", "curves.png", "report.html", "samples/000001.png",
                    *own}  # fmt: skip


def test_a_run_without_its_format_is_known_by_its_options(effebm, tmp_path):
    assert effebm("train", *TINY, "--out", tmp_path)[0] == 0
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("format") == "effebm_ext run"
    del config["data_seed"], config["keep_checkpoints"]  # as an older version wrote it
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert effebm("train", "--resume", tmp_path)[0] == 0
    assert json.loads((tmp_path / "config.json").read_text())["format"] == "effebm_ext run"
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "checkpoint.pt").unlink()
    assert effebm("train", *TINY, "--out", tmp_path, "--overwrite")[0] == 0


def test_a_configuration_of_another_format_is_refused(effebm, tmp_path):
    assert effebm("train", *TINY, "--out", tmp_path)[0] == 0
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "format": "another"}))
    status, _, error = effebm("train", "--resume", tmp_path)
    assert status == 2
    assert "format: expected 'effebm_ext run', got 'another'" in error


@pytest.mark.parametrize(
    "command",
    [["train", "--out"], ["train", "--resume"], ["sample", "--out", "x.npy"], ["evaluate"]],
    ids=str,
)
def test_an_empty_name_is_not_the_current_folder(effebm, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    more = TINY if "--out" in command and command[0] == "train" else []
    status, _, error = effebm(*command, "", *more)
    assert (status, "expected a folder, got an empty name" in error) == (2, True)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("resume", [False, True])
def test_an_empty_name_is_refused_from_python_too(resume):
    with pytest.raises(ValueError, match="expected a folder, got no name"):
        RunFolder("", resume=resume)
