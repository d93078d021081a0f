"""The help of the command line: groups, choices, and sentences that make sense by themselves."""

import dataclasses
import re
import subprocess
import sys

import pytest

from effebm_ext.runs import TrainConfig
from effebm_ext.runs.command_line import cli, cli_options
from effebm_ext.runs.config import choices, option_group
from effebm_ext.runs.methods import METHODS

OPTIONS = {
    (command.name, parameter.name): parameter.help
    for command in cli.cli.commands.values()
    for parameter in command.params
    if hasattr(parameter, "help")
}
FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}


def sections(shown):
    """The flags of the help under each heading."""
    found, title = {}, None
    for line in shown.splitlines():
        if heading := re.fullmatch(r"(\S.*):", line):
            title = heading[1]
        elif title and (flag := re.match(r"  (?:-h, )?--([a-z0-9-]+)", line)):
            found.setdefault(title, []).append(flag[1].replace("-", "_"))
    return found


def test_the_help_of_train_comes_in_groups(effebm):
    status, shown, _ = effebm("train", "--help")
    assert status == 0
    found = sections(shown)
    own = [title for title in found if title.startswith("Only with objective ")]
    assert list(found) == [*cli_options.GROUPS, *own, "Other options"]
    assert found["Data"] == ["data", "resize", "background", "holdout", "data_seed", "data_noise"]
    assert {"out", "overwrite", "resume", "config", "tensorboard", "seed"} <= set(found["Run"])
    assert found["Only with objective jarzynski"] == [
        "adjusted", "moved_chains", "resampling", "resample_threshold", "following_walkers",
    ]  # fmt: skip
    assert found["Other options"] == ["help"]
    flags = [flag for group in found.values() for flag in group]
    assert len(flags) == len(set(flags))
    assert set(FIELDS) <= set(flags)


def test_every_option_says_where_it_belongs():
    own = {f.name for method in METHODS.values() for f in dataclasses.fields(method.options)}
    for name in FIELDS:
        assert (option_group(name) in cli_options.GROUPS) == (name not in own)
    assert option_group("noise_end") == "Only with objective dsm, fd-dsm"


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_help_texts_are_sentences(command, option):
    text = OPTIONS[command, option]
    assert re.fullmatch(r"[A-Z][^\[\]]+\.( \[default: [^\[\]]+(?<!\.)\])?", text), text


def test_choices_are_in_the_place_of_the_value(effebm):
    shown = effebm("train", "--help")[1]
    assert "--energy [auto|mlp|conv|resnet|unet|module:Class]" in shown
    assert f"--objective [{'|'.join(METHODS)}]" in shown
    for name in FIELDS:
        if choices(name):
            flag = name.replace("_", "-")
            assert f"--{flag} [{'|'.join(choices(name))}]" in shown


@pytest.mark.parametrize("name", [name for name in FIELDS if choices(name)])
def test_a_wrong_choice_is_refused_in_our_words(effebm, tmp_path, name):
    flag, known = "--" + name.replace("_", "-"), ", ".join(choices(name))
    status, _, error = effebm("train", flag, "x", "--out", tmp_path / "run")
    assert (status, error) == (2, f"effebm: error: {name}: expected {known}, got 'x'\n")


def test_the_examples_of_the_help_are_commands(effebm):
    shown = effebm("train", "--help")[1].partition("Examples:\n")[2]
    lines = shown.splitlines()
    assert len(lines) >= 3
    for line in lines:
        name, command, *flags = line.split()
        assert (name, command) == ("effebm", "train")
        arguments = [flag for flag in flags if flag.startswith("--")]
        known = {flag for p in cli.train.params for flag in p.opts}
        assert arguments
        assert set(arguments) <= known


@pytest.mark.parametrize("module", ["click", "cloup", "tqdm"])
def test_what_the_command_needs_is_named_if_missing(module):
    code = f"import sys; sys.modules[{module!r}] = None; import effebm_ext.runs.command_line.cli"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (f"effebm: error: {module} is missing: pip install 'effebm_ext[train]'\n")
