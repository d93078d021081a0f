"""Runs of particle dynamics by the command line."""

import numpy as np
import pytest
from helpers import normal
from moved_energies import MOVES
from stopped_runs import metrics_of_stopped_and_resumed

RUN = ["--objective", "particle", "--chains", "8", "--batch-size", "4", "--langevin-steps", "2",
       "--iterations", "7", "--checkpoint-every", "3", "--ais-steps", "2"]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        ["--data", "rings", "--ema-decay", "0.9", "--step-size-end", "0.001"],
        ["--data", "two-moons", "--conditional", "--particle-move", "beta", "--step-correction",
         "--restart-probability", "0.2", "--compressor", "topk:1"],
    ],
    ids=["alpha", "beta"],
)  # fmt: skip
@pytest.mark.parametrize("iterations", [3, 5])
def test_a_resumed_run_equals_an_uninterrupted_one(effebm, tmp_path, options, iterations):
    metrics = metrics_of_stopped_and_resumed(effebm, tmp_path, [*RUN, *options], iterations)
    assert ("step_correction" in metrics[-1]) == ("--step-correction" in options)
    assert len({m["move_rms"] for m in metrics}) == 7


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("data", ["digits", "array"])
def test_the_command_line_trains_on_images_and_arrays(effebm, tmp_path, data, move):
    np.save(tmp_path / "array.npy", normal(40, 3, 2).numpy())
    source = data if data == "digits" else tmp_path / "array.npy"
    flags = ["--data", source, "--particle-move", move, "--step-correction", "--conditional"]
    out = tmp_path / "run"
    status, _, error = effebm("train", *RUN, *flags[: 6 if data == "digits" else 5], "--out", out)
    assert status == 0, error
    assert effebm("sample", out, "--n", 3, "--steps", 2, "--out", tmp_path / "x.npy")[0] == 0
    assert np.isfinite(np.load(tmp_path / "x.npy")).all()


def test_a_replay_buffer_is_refused(effebm, tmp_path):
    flags = ["--data", "rings", "--buffer-size", "20", "--out", tmp_path / "run"]
    status, _, error = effebm("train", *RUN, *flags)
    assert (status, "buffer_size: not with objective particle, all of" in error) == (2, True)
