"""Event files: what TensorBoard shows of a run, also of one that was interrupted."""

import json
import sys

import pytest
from kill_and_resume import result
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

RUN = ["--data", "two-moons", "--conditional", "--chains", "4", "--batch-size", "4",
       "--langevin-steps", "2", "--iterations", "10", "--checkpoint-every", "4",
       "--ais-steps", "0"]  # fmt: skip


def shown(run):
    """The scalars, as metrics.jsonl has them, and the iterations of the pictures."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    metrics = {}
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            assert name not in metrics.setdefault(event.step, {})
            metrics[event.step][name] = event.value
    return metrics, [image.step for image in events.Images("samples")]


def written(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        line.pop("iteration"): {k: pytest.approx(v) for k, v in line.items() if k != "seconds"}
        for line in lines
    }


def test_every_metric_of_every_iteration_and_pictures_at_checkpoints(effebm, tmp_path):
    run = tmp_path / "run"
    assert effebm("train", "--out", run, "--tensorboard", *RUN)[0] == 0
    assert shown(run) == (written(run), [4, 8, 10])
    assert effebm("train", "--out", tmp_path / "plain", *RUN)[0] == 0
    assert result(run) == result(tmp_path / "plain")
    assert not (tmp_path / "plain" / "tensorboard").exists()
    (run / "tensorboard" / "mine.txt").write_text("not an event file")
    assert effebm("train", "--out", run, "--overwrite", *RUN)[0] == 0
    assert [path.name for path in (run / "tensorboard").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("stop_after", [2, 7, 8])
def test_a_resumed_run_is_shown_once(effebm, tmp_path, stop_after):
    run = tmp_path / "run"
    first = effebm("train", "--out", run, "--tensorboard", *RUN, stop_after=stop_after)
    assert first[0] == 130
    assert effebm("train", "--resume", run, "--tensorboard")[0] == 0
    assert shown(run) == (written(run), [4, 8, 10])


def test_a_run_resumed_with_the_flag_is_shown_from_its_beginning(effebm, tmp_path):
    run = tmp_path / "run"
    assert effebm("train", "--out", run, *RUN, stop_after=6)[0] == 130
    assert effebm("train", "--resume", run, "--tensorboard")[0] == 0
    assert shown(run) == (written(run), [8, 10])


def test_what_is_missing_is_said_before_anything_is_written(effebm, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    status, _, error = effebm("train", "--out", tmp_path / "run", "--tensorboard", *RUN)
    assert status == 2
    assert "tensorboard: it is missing: pip install 'effebm_ext[tensorboard]'" in error
    assert not (tmp_path / "run").exists()
