"""The line that a run prints before it begins."""

import numpy as np
import pytest

TINY = ["--iterations", 1, "--ais-steps", 0, "--langevin-steps", 1, "--batch-size", 4]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ["--data", "digits", "--chains", 8],
            "1797 images 1 x 8 x 8 in [-1, 1], std 0.75; 1618 to train on, 179 held out; "
            "ConvEnergy, 23,552 parameters; 8 chains; recipe small-images but chains 8, "
            "langevin_steps 1, batch_size 4.",
        ),
        (
            ["--data", "digits", "--chains", 8, "--conditional"],
            "1797 images 1 x 8 x 8 in [-1, 1], std 0.75; 10 classes; 1618 to train on, 179 held "
            "out; ConvEnergy, 25,856 parameters; 8 chains; recipe small-images but chains 8, "
            "langevin_steps 1, batch_size 4.",
        ),
        (
            ["--data", "rings", "--holdout", 0, "--chains", 4, "--buffer-size", 9],
            "10000 points of 2 numbers in [-1.7, 1.73], std 0.84; 10000 to train on, 0 held out; "
            "MLPEnergy, 132,608 parameters; 4 chains of a buffer of 9; options of its own.",
        ),
        (
            ["--data", "digits", "--objective", "jarzynski", "--chains", 8],
            "1797 images 1 x 8 x 8 in [-1, 1], std 0.75; 1618 to train on, 179 held out; "
            "ConvEnergy with a Gaussian base, 23,552 parameters; 8 chains; options of its own.",
        ),
    ],
)
def test_a_run_says_what_it_was_given(effebm, tmp_path, flags, line):
    assert effebm("train", *TINY, *flags, "--out", tmp_path / "a")[1].splitlines()[0] == line


def test_what_loading_changed_is_said(effebm, tmp_path):
    pixels = np.arange(8 * 16 * 16 * 3, dtype=np.uint32).astype(np.uint8)
    np.save(tmp_path / "x.npy", pixels.reshape(8, 16, 16, 3))
    status, shown, error = effebm(
        "train", *TINY, "--data", tmp_path / "x.npy", "--chains", 4, "--out", tmp_path / "a"
    )
    assert status == 0
    assert shown.startswith(
        "8 images 3 x 16 x 16 in [-1, 1], std 0.58 (scaled from 0 to 255, channels moved from the "
        "last axis to the first); 8 to train on, 0 held out; UNetEnergy "
        "with a Gaussian base, "
    )
    assert "warning" not in error
