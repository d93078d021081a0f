"""``effebm bias`` prints what the library predicts, and a step size to take."""

import json
import re

import pytest

import effebm_ext as eff
from effebm_ext.bias import predicted_bias, step_size_for_bias


def test_it_prints_the_prediction(effebm):
    arguments = ["--compressor", "topk:0.1", "--step-size", 0.02, "--curvature", "1,4"]
    status, shown, error = effebm("bias", *arguments)
    assert (status, error) == (0, "")
    found = predicted_bias(eff.TopK(ratio=0.1), 1024, 0.02, [1.0, 4.0])
    lines = shown.splitlines()
    assert lines[0] == "compressor topk:0.1, error feedback on, 1024 entries, step size 0.02"
    assert lines[1].split() == ["curvature", "variance", "exact", "ratio"]
    for line, c, v in zip(lines[2:4], (1, 4), found.relative_variances, strict=True):
        assert line.split() == [str(c), f"{v / c:.4g}", f"{1 / c:.4g}", f"{v:.4f}"]
    assert f"mean ratio:    {found.virial:.4f}" in shown
    assert f"diverges from: a step size of {found.largest_step_size:.3g}" in shown
    plain = predicted_bias(None, 1024, 0.02, [1.0, 4.0]).virial
    assert f"samples:       about {plain:.4f}, as without compression" in shown
    step_size = float(re.fullmatch(r"Take .+ at most (\S+) for a bias below 5 %\.", lines[-1])[1])
    best = step_size_for_bias(0.05, eff.TopK(ratio=0.1), 1024, [1.0, 4.0])
    assert 0.9 * best < step_size <= best
    assert predicted_bias(eff.TopK(ratio=0.1), 1024, step_size, [1.0, 4.0]).bias <= 0.05


def test_it_says_where_no_variance_is_known(effebm):
    _, shown, _ = effebm("bias", "--compressor", "topk:0.1", "--step-size", 1)
    assert "the chain diverges" in shown
    assert "variance  " not in shown
    assert "Take a step size of at most 0.035 for a bias below 5 %." in shown
    _, shown, _ = effebm("bias", "--step-size", 0.02, "--curvature", 4)
    assert "heavy tails" in shown
    assert "diverges from" not in shown


def test_it_says_where_rows_are_short(effebm):
    arguments = ["--compressor", "topk:1", "--dim", 2, "--step-size", 0.15]
    assert "mind:          the law is that of long rows" in effebm("bias", *arguments)[1]
    status, _, error = effebm("bias", *arguments, "--curvature", "1,2,3")
    assert (status, "curvature: expected at most 2" in error) == (2, True)


def test_without_feedback_no_step_size_helps(effebm):
    arguments = ["--compressor", "topk:0.1", "--no-error-feedback", "--step-size", 0.02]
    _, shown, _ = effebm("bias", *arguments, "--tolerance", 0.2)
    assert "error feedback off" in shown
    assert "samples:" not in shown
    assert "No step size has a bias below 20 %; error feedback cures most of it." in shown
    _, shown, _ = effebm("bias", "--compressor", "none", "--step-size", 0.02)
    assert shown.startswith("compressor none, 1024 entries")
    assert "Take a step size of at most 0.19 for a bias below 5 %." in shown


def test_feedback_is_off_where_it_is_not_allowed(effebm):
    arguments = ["--compressor", "random-k:0.1", "--step-size", 0.02]
    assert "error feedback off" in effebm("bias", *arguments)[1]
    status, _, error = effebm("bias", *arguments, "--error-feedback")
    assert status == 2
    assert error.startswith("effebm: error: error_feedback: expected a compressor")


def test_the_entries_come_from_data_or_a_run(effebm, tmp_path):
    given = ["--data", "digits", "--step-size", 0.02]
    assert "64 entries" in effebm("bias", *given)[1]
    assert "100 entries" in effebm("bias", *given, "--dim", 100)[1]
    run = tmp_path / "run"
    status, _, error = effebm(
        "train", "--data", "digits", "--compressor", "topk:0.2", "--step-size", 0.03,
        "--iterations", 1, "--ais-steps", 0, "--out", run, "--quiet",
    )  # fmt: skip
    assert (status, error) == (0, "")
    file = run / "config.json"
    _, shown, _ = effebm("bias", "--config", file)
    assert "compressor topk:0.2, error feedback on, 64 entries, step size 0.03" in shown
    _, shown, _ = effebm("bias", "--config", file, "--step-size", 0.01)
    assert "compressor topk:0.2, error feedback on, 64 entries, step size 0.01" in shown
    file.write_text(json.dumps({"step-size": "small"}))
    status, _, error = effebm("bias", "--config", file)
    assert status == 2
    assert "step_size: expected a number" in error


@pytest.mark.parametrize(
    ("file", "first", "more"),
    [
        (
            'verbatim = true\ncompressor = "topk:0.1"',
            "compressor topk:0.1, error feedback off, 64 entries, step size 0.02",
            "Top-k without feedback",
        ),
        (
            'objective = "jarzynski"\ndata = "rings"\nout = "runs/rings"',
            "compressor none, 2 entries, step size 0.005",
            "not covered:   the weights of jarzynski\n",
        ),
        (
            'averaged_noise = true\nclip = "norm:9"\nstep-size = 0.04\nstep-size-end = 0.01',
            "compressor block-sign:64, error feedback on, 64 entries, step size 0.01 at the end, "
            "after 0.04",
            "not covered:   --averaged-noise, --clip\n",
        ),
        (
            "noise_std = 0.1\nstep_size = 0.02",
            "compressor block-sign:64, error feedback on, 64 entries, step size 0.02, "
            "temperature 0.5",
            "E[x . grad E(x)] / (d T)",
        ),
    ],
)
def test_the_chain_of_a_file_is_that_of_training(effebm, tmp_path, file, first, more):
    path = tmp_path / "run.toml"
    path.write_text(file)
    status, shown, error = effebm("bias", "--config", path)
    assert (status, error) == (0, "")
    assert shown.startswith(f"{first}\n")
    assert more in shown
    _, shown, _ = effebm("bias", "--config", path, "--step-size", 0.03, "--dim", 100)
    assert "100 entries, step size 0.03" in shown
    assert "at the end" not in shown


def test_variances_are_those_of_the_temperature(effebm, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('temperature = 0.5\ncompressor = "topk:0.1"')
    _, shown, _ = effebm("bias", "--config", path, "--curvature", 4, "--dim", 1000)
    (ratio,) = predicted_bias(eff.TopK(ratio=0.1), 1000, 0.02, 4.0).relative_variances
    want = ["4", f"{0.5 * ratio / 4:.4g}", "0.125", f"{ratio:.4f}"]
    assert shown.splitlines()[2].split() == want


def test_errors_of_a_file_name_it(effebm, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("temperature = -1")
    status, _, error = effebm("bias", "--config", path)
    assert (status, f"config: {path}: temperature: expected" in error) == (2, True)


def test_a_size_of_images_in_a_file_is_not_for_other_data(effebm, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('data = "images:nowhere"\nresize = "8"')
    status, shown, _ = effebm("bias", "--config", path, "--data", "digits")
    assert (status, "64 entries" in shown) == (0, True)
    status, _, error = effebm("bias", "--config", path, "--data", "digits", "--resize", 8)
    assert (status, "resize: expected none with digits" in error) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "step_size: expected --step-size, or --config"),
        (["--step-size", -1], "step_size: expected a finite number > 0, got -1.0"),
        (["--curvature", "1;4"], "curvature: expected numbers with commas between, got '1;4'"),
        (["--curvature", "0"], "curvature: expected a positive finite number, got 0.0"),
        (["--tolerance", 0], "tolerance: expected a positive finite number, got 0.0"),
        (["--compressor", "x"], "compressor: expected none, topk:RATIO"),
        (["--compressor", "topk:9", "--dim", 8], "compressor: 'topk:9': k: expected 0 <= k <= 8"),
        (["--data", "nothing.npy"], "data: "),
    ],
)
def test_bad_input_ends_in_one_line_that_names_the_option(effebm, arguments, message):
    step = ["--step-size", 0.02] if arguments and "--step-size" not in arguments else []
    status, shown, error = effebm("bias", *step, *arguments)
    assert (status, shown) == (2, "")
    assert error.startswith(f"effebm: error: {message}")
    assert error.count("\n") == 1
