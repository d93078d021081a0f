"""Runs go back to an earlier checkpoint, and what came after it is given up."""

import shutil

import pytest

from effebm_ext.runs.folder import checkpoint

RUN = ["--data", "two-moons", "--compressor", "block-sign:2", "--chains", 4, "--batch-size", 4,
       "--langevin-steps", 2, "--ais-steps", 0, "--width", 8, "--depth", 1]  # fmt: skip


@pytest.fixture
def long_run(effebm, tmp_path):
    """A run of 8 iterations with one picture, an evaluation and earlier checkpoints."""
    run = tmp_path / "run"
    flags = ["--iterations", 8, "--checkpoint-every", 2, "--keep-checkpoints", 9, "--ais-steps", 2]
    assert effebm("train", *RUN, *flags, "--out", run)[0] == 0
    for path in (run / "samples").iterdir():
        if path.name != "000008.png":
            path.unlink()
    assert (run / "evaluation.json").exists()
    (run / "samples.gif").write_bytes(b"the pictures up to iteration 8")
    return run


def test_going_back_gives_up_what_came_after(effebm, tmp_path):
    run = tmp_path / "run"
    flags = ["--checkpoint-every", 2, "--iterations", 8, "--keep-checkpoints", 9]
    assert effebm("train", *RUN, *flags, "--out", run)[0] == 0
    back = ["train", "--resume", run / "checkpoints" / "000004.pt", "--seed", 5]
    assert effebm(*back, "--iterations", 5)[0] == 0
    assert sorted(path.stem for path in (run / "checkpoints").iterdir()) == ["000002", "000004"]
    content = checkpoint.load(run / "checkpoint.pt")
    assert content["trainer"]["iterations"] == 5
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 5
    (entry,) = content["history"]
    assert entry["iteration"] == 4


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("best", [2, 4, 8])
def test_going_back_gives_up_pictures_and_a_later_best(effebm, long_run, killed, best):
    run, earlier = long_run, long_run / "checkpoints"
    last, source = run / "checkpoint.pt", earlier / "000004.pt"
    shutil.copy(last if best == 8 else earlier / f"{best:06d}.pt", run / "best.pt")
    if killed:  # before it wrote the checkpoints of iterations 6 and 8
        source.replace(last)
        source = run
    flags = ["--seed", 5, "--iterations", 5, "--ais-steps", 0]
    assert effebm("train", "--resume", source, *flags)[0] == 0
    assert [path.name for path in (run / "samples").iterdir()] == ["000005.png"]
    assert not (run / "samples.gif").exists()
    assert (run / "best.pt").exists() == (best <= 4)
    assert "iteration 8" not in (run / "report.html").read_text()


def test_going_back_gives_up_the_evaluation(effebm, long_run):
    back = ["--resume", long_run / "checkpoints" / "000004.pt"]
    assert effebm("train", *back, "--iterations", 4, "--ais-steps", 0)[0] == 0
    assert not (long_run / "evaluation.json").exists()


def test_going_back_does_not_mind_a_damaged_best(effebm, long_run):
    (long_run / "best.pt").write_bytes(b"damaged")
    assert effebm("train", "--resume", long_run / "checkpoints" / "000004.pt")[0] == 0
