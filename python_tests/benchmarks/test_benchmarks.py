"""The kernel benchmark runs, reports every arm, and refuses to time a form that is wrong."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import effebm_ext as eff

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import environment
import forms
import kernels
import mala
import perturb
import random_block
from arms import OPS

FLOORS = {"copy", "axpy", "noise"}
FORMS = {"plain": {"add_"}, "block-sign": {"abs-mean", "norm-sign", "copysign"},
         "topk": {"scatter", "threshold", "kthvalue"}}  # fmt: skip
QUICK = ["--no-compile", "--seconds", "0.001", "--threads", "1"]


def run(*options):
    return CliRunner().invoke(kernels.main, [*QUICK, *options])


def test_every_arm_of_every_op_is_in_the_report(tmp_path):
    threads = torch.get_num_threads()
    done = run("--shapes", "16x64,3x100", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert torch.get_num_threads() == threads
    results = json.loads((tmp_path / "kernels.json").read_text())["results"]
    assert [(r["shape"], r["op"]) for r in results] == [
        (s, op) for s in ("16x64", "3x100") for op in OPS
    ]
    for result in results:
        wanted = {"ours"} | FLOORS | FORMS[result["op"].partition(":")[0]]
        wanted |= set() if result["op"] == "plain" else {"compress"}
        timed = {name for name, arm in result["arms"].items() if "missing" not in arm}
        assert timed - {"torchebm"} == wanted
        for name in timed:
            arm = result["arms"][name]
            figures = [arm["ns_per_element"], arm["us_per_call"], *arm["quartiles"]]
            assert all(math.isfinite(value) and value > 0 for value in figures)
            assert arm["samples"] >= 5
        assert result["speed_up"] > 0
    assert (tmp_path / "kernels.png").stat().st_size > 0
    assert "microseconds per call" in done.output


@pytest.mark.parametrize("op", ["plain", "block-sign:64", "topk:0.1"])
@pytest.mark.parametrize("fault", ["moves double", "does not move", "moves one entry"])
def test_a_form_that_computes_something_else_is_not_timed(op, fault, monkeypatch, tmp_path):
    faults = {
        "moves double": lambda move: lambda x, g: move(x, 2 * g),
        "does not move": lambda move: lambda x, g: None,
        "moves one entry": lambda move: lambda x, g: (move(x, g), x[-1, -1].add_(0.01)),
    }
    right = forms.moves

    def wrong(*arguments):
        found = right(*arguments)
        last = list(found)[-1]
        return found | {last: faults[fault](found[last])}

    monkeypatch.setattr("arms.moves", wrong)
    done = run("--shapes", "3x100", "--ops", op, "--out", str(tmp_path))
    assert_refused(done, tmp_path, list(right(kernels.Case(op, 3, 100).compressor, 100, dict))[-1])


def assert_refused(done, folder, name):
    """One arm has no time, all others do."""
    assert done.exit_code == 1
    (result,) = json.loads((folder / "kernels.json").read_text())["results"]
    missing = {name: arm["missing"] for name, arm in result["arms"].items() if "missing" in arm}
    missing.pop("torchebm", None)
    assert list(missing) == [name]
    assert missing[name].startswith("WrongFormError")
    assert missing[name] in done.output


@pytest.mark.parametrize("noise", [0.0, 0.9])
def test_a_form_with_other_noise_is_not_timed(noise, monkeypatch, tmp_path):
    monkeypatch.setattr("arms._eager", lambda case, name, noisy: _other_noise(noisy * noise))
    done = run("--shapes", "100x100", "--ops", "plain", "--out", str(tmp_path))
    assert_refused(done, tmp_path, "add_")


def _other_noise(std):
    def step(x, g):
        x.add_(g, alpha=-forms.HALF_STEP).add_(torch.randn_like(x), alpha=std)

    return step


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_ties_and_rounding_of_other_dtypes_are_no_difference(dtype):
    done = run("--shapes", "4x3000", "--dtype", dtype)
    assert done.exit_code == 0, done.output


def test_what_an_op_does_not_accept_is_reported_as_missing(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise TypeError("x: not this one")

    monkeypatch.setattr(eff, "langevin_step_", refuse)
    done = run("--shapes", "3x100", "--ops", "plain", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "missing: ours (plain 3x100): TypeError: x: not this one" in done.output
    (result,) = json.loads((tmp_path / "kernels.json").read_text())["results"]
    assert result["speed_up"] is None
    assert result["arms"]["add_"]["ns_per_element"] > 0


@pytest.mark.parametrize(
    ("option", "text"),
    [("--shapes", "16"), ("--shapes", "0x3"), ("--shapes", "ax3"), ("--threads", "0"),
     ("--ops", "top"), ("--seconds", "0"), ("--dtype", "int8")],
)  # fmt: skip
def test_bad_options_are_refused(option, text):
    done = run(option, text)
    assert done.exit_code == 2
    assert text in done.output


def test_what_there_was_no_time_for_and_what_broke_is_told_from_what_was_measured(
    tmp_path, monkeypatch
):
    where = ["--ops", "plain", "--out", str(tmp_path)]
    done = run("--shapes", "3x100", "--limit", "0", *where)
    assert done.exit_code == 0, done.output
    assert "missing: every arm (plain 3x100): --limit was reached before" in done.output

    monkeypatch.setattr(kernels, "make_pairs", _out_of_memory_from(100, kernels.make_pairs))
    done = run("--shapes", "3x10,3x100,3x20", *where)
    assert done.exit_code == 1
    assert "missing: every arm (plain 3x100): OutOfMemoryError: too large" in done.output
    found = json.loads((tmp_path / "kernels.json").read_text())
    assert [r["shape"] for r in found["results"]] == ["3x10", "3x20"]
    assert [r["shape"] for r in found["not_measured"]] == ["3x100"]


def _out_of_memory_from(dim, make_pairs):
    def pairs(case):
        if case.dim >= dim:
            raise torch.OutOfMemoryError("too large")
        return make_pairs(case)

    return pairs


def test_a_copy_without_its_history_is_told_its_commit(monkeypatch):
    monkeypatch.setenv("EFFEBM_COMMIT", "c0ffee")
    assert environment.environment("cpu")["commit"] != "c0ffee"
    monkeypatch.setenv("PATH", "")  # no git
    assert environment.environment("cpu")["commit"] == "c0ffee"


def test_the_perturbed_pair_is_timed_and_wrong_forms_are_refused(tmp_path, monkeypatch):
    options = [*QUICK, "--shapes", "4x64", "--out", str(tmp_path)]
    done = CliRunner().invoke(perturb.main, options)
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "perturb.json").read_text())["results"]
    assert [r["sigma"] for r in results] == list(perturb.SIGMAS)
    for result in results:
        assert set(result["arms"]) == {"ours", "new tensors", "buffers", "noise"}
        assert result["speed_up"] > 0
    right = perturb.forms

    def longer(sigma, case):
        found = right(sigma, case)
        form = found["buffers"]
        return found | {"buffers": lambda x: (2 * form(x)[0] - x, None)}

    monkeypatch.setattr(perturb, "forms", longer)
    done = CliRunner().invoke(perturb.main, options)
    assert "buffers at (4, 64) perturbs otherwise" in str(done.exception)


def test_random_blocks_are_timed_and_wrong_forms_are_refused(tmp_path, monkeypatch):
    threads = torch.get_num_threads()
    options = ["--shapes", "4x64", "--threads", "1", "--seconds", "0.01", "--out", str(tmp_path)]
    done = CliRunner().invoke(random_block.main, options)
    assert done.exit_code == 0, done.output
    assert torch.get_num_threads() == threads
    (result,) = json.loads((tmp_path / "random_block.json").read_text())["results"]
    names = {"a block each", "one block for all", "all entries"}
    assert set(result["arms"]) == {"ours", *names}
    ours = result["arms"]["ours"]["ns_per_element"]
    for name in names:
        ratio = result["arms"][name]["ns_per_element"] / ours
        assert result["speed_ups"][name] == pytest.approx(ratio)
    right = random_block.forms
    monkeypatch.setattr(random_block, "forms", lambda k, case: right(k + 1, case))
    done = CliRunner().invoke(random_block.main, options)
    assert "ours at (4, 64) moves otherwise than asked for" in str(done.exception)


def test_steps_of_mala_are_timed_in_steps_of_langevin(tmp_path):
    threads = torch.get_num_threads()
    options = ["--shape", "4x64", "--rounds", "2", "--out", str(tmp_path)]
    done = CliRunner().invoke(mala.main, options)
    assert done.exit_code == 0, done.output
    assert torch.get_num_threads() == threads
    results = json.loads((tmp_path / "mala.json").read_text())["results"]
    assert len(results) == 2 * len(mala.COMPRESSORS) * len(mala.STEPS)
    for result in results:
        assert result["ratio"] == pytest.approx(result["mala_us"] / result["langevin_us"])
        assert result["ratio"] > 0
