"""Types of configurations, from Python, TOML and config.json."""

import dataclasses
import datetime
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.training.run_folder import RunFolder, checkpoint

TINY = 'data = "rings"\nchains = 4\nlangevin-steps = 1\niterations = 2\nais-steps = 0\n'
NO_RUN = 'objective = "none"'  # what a value that is taken by mistake would go on to
# Values of every type by fields of every type: what Python, JSON and TOML may hold.
INTEGERS = ("chains", "iterations", "batch_size", "seed", "buffer_size", "ais_steps")
NUMBERS = ("holdout", "learning_rate", "step_size", "data_noise", "energy_l2", "ema_decay")
BOOLS = ("conditional", "error_feedback", "adjusted", "step_correction")
STRINGS = ("data", "objective", "compressor", "clip", "device")
NEITHER = ([], [1], {}, "1", "x", "false", "")
WRONG = [
    *((name, value) for name in INTEGERS for value in (16.7, 16.0, True, *NEITHER)),
    *((name, value) for name in NUMBERS for value in (True, False, *NEITHER)),
    *((name, value) for name in BOOLS for value in (0, 1, 0.0, *NEITHER)),
    *((name, value) for name in STRINGS for value in (1, 1.5, True, [], {})),
]
EXPECTED = {
    **dict.fromkeys(INTEGERS, "an int"),
    **dict.fromkeys(NUMBERS, "a number"),
    **dict.fromkeys(BOOLS, "true or false"),
    **dict.fromkeys(STRINGS, "a str"),
}


def words(name, value):
    return f"{name}: expected {EXPECTED[name]}, got {value!r}"


@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda v: repr(v)[:20])
def test_values_of_another_type_are_refused_by_name(name, value):
    with pytest.raises(TypeError) as error:
        TrainConfig(**{name: value})
    assert str(error.value) == words(name, value)


@pytest.mark.parametrize("name", NUMBERS)
def test_integers_that_no_float_holds_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}: expected a number below 2"):
        TrainConfig(**{name: 10**400})


def test_every_field_is_held_to_its_type():
    class Unknown:
        pass

    for field in dataclasses.fields(TrainConfig):
        with pytest.raises(TypeError, match=f"{field.name}: expected .*Unknown"):
            TrainConfig(**{field.name: Unknown()})


def test_none_passes_only_where_it_is_declared():
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    optional = {"compressor", "error_feedback", "step_size", "step_size_end", "data_noise",
                "fd_epsilon", "energy_l2", "learning_rate_schedule", "optimizer",
                "max_grad_norm", "buffer_device", "energy", "base", "width", "depth",
                "denoising_weight", "warm_up", "resize", "noise_std", "step_size_schedule",
                "iterations", "batch_size", "langevin_steps", "learning_rate",
                "data_seed"}  # fmt: skip
    TrainConfig(**dict.fromkeys(optional))
    for name in fields - optional:
        with pytest.raises(TypeError, match=f"{name}: expected .*, got None"):
            TrainConfig(**{name: None})


@pytest.mark.parametrize(
    ("name", "value", "want"),
    [
        ("step_size", 2, 2.0),
        ("step_size", np.float32(0.5), 0.5),
        ("step_size", torch.tensor(0.5), 0.5),
        ("holdout", np.int64(0), 0.0),
        ("chains", np.int32(7), 7),
        ("chains", np.prod([2, 3]), 6),
        ("seed", np.uint64(2**64 - 1), 2**64 - 1),
        ("conditional", np.True_, True),
        ("data", np.str_("rings"), "rings"),
    ],
)
def test_numbers_of_every_kind_become_those_of_python(name, value, want):
    got = getattr(TrainConfig(**{name: value}), name)
    assert type(got) is type(want)
    assert got == want
    json.dumps(got)


def in_toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    return "{}" if value == {} else repr(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chains", 16.7), ("iterations", 2.7), ("seed", 1.5), ("chains", True), ("seed", []),
        ("iterations", "2"), ("conditional", 1), ("error_feedback", 1), ("error_feedback", "x"),
        ("conditional", "no"), ("step_size", "0.1"), ("step_size", True), ("data", 3),
        ("compressor", 64), ("learning_rate", [0.1]), ("data_noise", {}),
    ],
    ids=str,
)  # fmt: skip
def test_types_of_toml_and_json_are_checked(effebm, tmp_path, name, value):
    file = tmp_path / "run.toml"
    file.write_text(f"{name} = {in_toml(value)}\n{NO_RUN}")
    status, _, error = effebm("train", "--config", file, "--out", tmp_path / "run")
    assert (status, error) == (2, f"effebm: error: config: {file}: {words(name, value)}\n")
    file = tmp_path / "run" / "config.json"
    file.parent.mkdir()
    file.write_text(json.dumps({name: value}))
    status, _, error = effebm("train", "--resume", file.parent)
    assert status == 2
    assert words(name, value) in error


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chains = 2024-01-01", f"chains: expected an int, got {datetime.date(2024, 1, 1)!r}"),
        ("step_size = 1e400", "step_size: expected a finite number > 0, got inf"),
        ("overwrite = 1", "overwrite: expected true or false, got 1"),
        ("tensorboard = 'yes'", "tensorboard: expected true or false, got 'yes'"),
        ("out = 3", "out: expected a str, got 3"),
        ("config = 'b.toml'\nbad = 1", "names that are no options: ['bad', 'config']"),
        ("[chains]\nn = 3", "chains: expected an int, got {'n': 3}"),
        ("[train]\nchains = 3", "names that are no options: ['train']"),
        ("batch_size = 3\nbatch-size = 4", "has a name twice, with - and with _"),
    ],
)
def test_other_lines_of_toml_are_refused_by_name(effebm, tmp_path, line, message):
    file = tmp_path / "run.toml"
    file.write_text(f"{NO_RUN}\n{line}")
    status, _, error = effebm("train", "--config", file, "--out", tmp_path / "run")
    assert status == 2
    assert message in error


def test_a_mark_at_the_beginning_of_toml_is_passed_over(effebm, tmp_path):
    file, run = tmp_path / "run.toml", tmp_path / "run"
    file.write_text(TINY, encoding="utf-8-sig")
    assert effebm("train", "--config", file, "--out", run)[0] == 0
    assert RunFolder(run, resume=True).config().chains == 4


def test_toml_is_utf8_whatever_the_locale(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("# é\nchains = 1.5", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "effebm_ext", "train", "--config", file, "--out", tmp_path / "run"],
        env={**os.environ, "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert words("chains", 1.5) in done.stderr


def test_toml_of_another_encoding_is_refused(effebm, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(TINY, encoding="utf-16")
    status, _, error = effebm("train", "--config", file, "--out", tmp_path / "run")
    assert status == 2
    assert "is not a TOML file" in error


@pytest.mark.parametrize("content", ["[]", "3", '"text"', "null", "[[1, 2]]"])
def test_a_config_json_of_another_form_is_named(effebm, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    status, _, error = effebm("train", "--resume", tmp_path)
    assert status == 2
    assert "config.json is not a configuration: " in error


def test_a_default_that_is_none_in_config_json_is_resolved(effebm, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(TINY + "checkpoint_every = 1\n")
    run = tmp_path / "run"
    assert effebm("train", "--config", file, "--out", run, stop_after=2)[0] != 0
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "data_noise": None}))
    assert effebm("train", "--resume", run)[0] == 0
    content = checkpoint.load(run / "checkpoint.pt")
    content["config"]["data_noise"] = None
    checkpoint.save(run / "checkpoint.pt", content)
    assert effebm("sample", run, "--denoise", "--out", tmp_path / "x.npy")[0] == 0


def test_older_runs_that_kept_all_entries_still_load():
    with pytest.warns(UserWarning, match="topk:1.0 is a ratio and keeps all"):
        assert TrainConfig(compressor="topk:1.0").compressor == "topk:1.0"


@pytest.mark.parametrize("option", [{"buffer_dtype": "uint8"}, {"buffer_device": "cpu"}])
def test_a_kind_of_buffer_without_a_buffer_is_refused(option):
    (name,) = option
    with pytest.raises(ValueError, match=f"{name}: expected none without a replay buffer"):
        TrainConfig(**option)
    TrainConfig(**option, buffer_size=1000)
