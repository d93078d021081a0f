"""What an evaluation says where its figures cannot be trusted, and what it refuses early."""

import dataclasses
import json
import math
import os

import numpy as np
import pytest
import torch
from helpers import named, normal

from effebm_ext.runs.command_line import commands
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.evaluation import evaluate as report
from effebm_ext.runs.evaluation.evaluate import evaluate
from effebm_ext.runs.evaluation.results import ClassEvaluation

CONFIG = TrainConfig(data="x", data_noise=0.0, holdout=0.5, ais_steps=200)
RUN = ["train", "--data", "rings", "--chains", 4, "--langevin-steps", 1, "--iterations", 1,
       "--batch-size", 4, "--ais-steps", 0]  # fmt: skip


def flat(x):
    return 0 * x.sum(1)


def linear(x):
    return x.sum(1)


def tent(x):
    return -x.abs().sum(1)


def inverted(x):
    return -x.square().sum(1) / 10


def evaluated(energy, d=2, chains=None, **options):
    chains = normal(128, d, seed=1) if chains is None else chains
    return evaluate(CONFIG, Dataset("x", normal(200, d), False), energy, chains, **options)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("energy", [flat, linear, tent, inverted], ids=named)
def test_energies_without_a_finite_integral_are_told(energy, d):
    got = evaluated(energy, d)
    assert math.isfinite(got.log_z_forward)  # it looks like a result
    assert abs(got.virial - 1) > 0.5
    for words in (got.summary(), got.table()):
        assert "The chains have not settled, or exp(-E) has no finite integral" in words


@pytest.mark.parametrize(
    "energy",
    [
        lambda x: x.square().sum(1) / 2,
        lambda x: 30 * (x.square().sum(1).sqrt() - 1).square(),  # a ring
        lambda x: 2 * torch.log1p(x.square()).sum(1),
        lambda x: torch.where(x > 0, 5 * x, -x).sum(1),
    ],
    ids=["gaussian", "ring", "heavy tails", "kink"],
)
def test_proper_energies_have_a_virial_of_one_and_no_caution(energy):
    got = evaluated(energy, n_chains=400, chains=0.8 * normal(400, 2, seed=1))
    assert abs(got.virial - 1) < 4 * got.virial_error < 1
    assert got.cautions() == []
    assert "Caution" not in got.table()


def test_chains_that_are_no_samples_of_the_model_are_told():
    def modes(x):  # 8 standard deviations apart, of masses 0.05 and 0.95
        left, right = 2 * (x + 2).square().sum(1), 2 * (x - 2).square().sum(1)
        return -torch.logaddexp(math.log(0.05) - left, math.log(0.95) - right)

    x = 0.5 * normal(128, 2)
    got = evaluated(modes, chains=x - 2, n_steps=400)
    assert got.gap < -1  # log(0.05 / 0.5): half of the ways up lead there
    gap = f"{-got.gap:.2f} ± {got.gap_error:.2f} nats"
    assert f"Caution: forward is above reverse ({gap}), which samples of a model" in got.summary()
    right = torch.cat([x[:6] - 2, x[6:] + 2])
    assert evaluated(modes, chains=right, n_steps=400).cautions() == []


def test_a_class_whose_forward_is_above_reverse_is_named():
    got = evaluated(lambda x: x.square().sum(1) / 2, n_steps=5)
    of_class = [ClassEvaluation(y, 0.5, 1.0, 0.3, z, 0.4) for y, z in ((3, 0.9), (7, -1.2))]
    got = dataclasses.replace(got, conditional=True, classes=tuple(of_class))
    (caution,) = got.cautions()
    assert "forward is above reverse (2.20 ± 0.50 nats of class 7), which" in caution
    named = tuple(dataclasses.replace(c, name=f"{c.label + 1}") for c in of_class)
    (caution,) = dataclasses.replace(got, classes=named).cautions()
    assert "forward is above reverse (2.20 ± 0.50 nats of class '8'), which" in caution


def test_what_is_not_to_be_had_is_refused_before_the_work(monkeypatch):
    monkeypatch.setattr(report, "annealed_by_class", lambda *_, **__: pytest.fail("too late"))
    for source, message in (("nothing", "ood: expected permuted"), ("digits", "ood: expected eve")):
        with pytest.raises(ValueError, match=message):
            evaluated(flat, ood=source)


def only_readable(monkeypatch, folder):
    """A folder that cannot be written to, for root too."""
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: access(path, mode) and (path, mode) != (folder, os.W_OK)
    )


def test_a_run_that_can_only_be_read_is_evaluated(effebm, tmp_path, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "evaluation.json"
    assert effebm(*RUN, "--out", run)[0] == 0
    only_readable(monkeypatch, run)
    status, printed, message = effebm("evaluate", run, "--ais-steps", 2)
    assert (status, "cross-entropy, forward" in printed) == (0, True)
    assert f"Nothing was saved, as {run} cannot be written to: --out FILE saves" in message
    assert effebm("evaluate", run, "--ais-steps", 2, "--out", out)[::2] == (0, "")
    assert json.loads(out.read_text())["ais_steps"] == 2
    assert not (run / "evaluation.json").exists()


@pytest.mark.parametrize("command", ["evaluate", "sample"])
def test_an_out_that_cannot_be_written_is_refused_first(effebm, tmp_path, monkeypatch, command):
    monkeypatch.setattr(commands, "load_model", lambda run: pytest.fail("too late"))
    only_readable(monkeypatch, tmp_path)
    (tmp_path / "folder.npy").mkdir()
    for out, expected in (
        (tmp_path / "x.npy", f"out: {tmp_path} cannot be written to"),
        (tmp_path / "none" / "x.npy", f"out: no such folder: {tmp_path / 'none'}"),
        (tmp_path / "folder.npy", f"out: expected a file, {tmp_path / 'folder.npy'} is a folder"),
    ):
        status, _, message = effebm(command, tmp_path, "--out", out)
        assert (status, expected in message) == (2, True)


def test_a_checkpoint_is_evaluated_and_saved_where_asked(effebm, tmp_path):
    run, out = tmp_path / "run", tmp_path / "of_checkpoint.json"
    assert effebm(*RUN, "--out", run)[0] == 0
    command = ["evaluate", run / "checkpoint.pt", "--ais-steps", 2]
    assert effebm(*command)[0] == 0
    assert effebm(*command, "--out", out)[0] == 0
    assert json.loads(out.read_text())["ais_steps"] == 2
    assert not (run / "evaluation.json").exists()


def test_the_figures_are_printed_before_they_are_saved(effebm, tmp_path, monkeypatch):
    def full(path, evaluation):
        raise OSError("No space left on device")

    run = tmp_path / "run"
    assert effebm(*RUN, "--out", run)[0] == 0
    monkeypatch.setattr(commands, "save_evaluation", full)
    status, printed, message = effebm("evaluate", run, "--ais-steps", 2)
    assert status == 2
    assert "cross-entropy, forward" in printed
    assert "No space left on device" in message


def with_figures(forward, reverse, error, dimensions, virial=1.0, bennett=10.1):
    got = evaluated(lambda x: x.square().sum(1) / 2)
    return dataclasses.replace(
        got,
        cross_entropy_bennett=bennett,
        cross_entropy_bennett_error=error,
        cross_entropy_forward=forward,
        cross_entropy_forward_error=error,
        cross_entropy_reverse=reverse,
        cross_entropy_reverse_error=error,
        gap=reverse - forward,
        gap_error=error,
        dimensions=dimensions,
        virial=virial,
        virial_error=0.01,
        cross_entropy_gaussian=None,
    )


@pytest.mark.parametrize(
    ("forward", "reverse", "error", "dimensions", "trusted"),
    [
        (10.0, 10.2, 0.1, 2, True),  # within three standard errors
        (10.0, 10.4, 0.1, 2, False),
        (10.0, 10.4, 0.1, 64, True),  # within 0.64 nats
        (10.0, 10.7, 0.1, 64, False),
        (1000.0, 1030.0, 0.1, 3072, True),
        (1000.0, 1040.0, 0.1, 3072, False),
    ],
)
def test_the_verdict_says_whether_the_estimates_agree(forward, reverse, error, dimensions, trusted):
    got = with_figures(forward, reverse, error, dimensions)
    bits = 10.1 / dimensions / math.log(2)
    first = got.summary().splitlines()[0]
    assert first == got.table().splitlines()[0] == got.verdict()
    figure = f"{bits:.2f} bits per dimension (10.10 ± {error:.2f} nats), lower is better; "
    assert first.startswith(figure)
    if trusted:
        assert first.endswith("the estimate is trustworthy: forward and reverse agree.")
    else:
        assert f"not to be trusted: forward and reverse differ by {reverse - forward:.3g}" in first


def test_a_caution_takes_the_trust_away():
    got = with_figures(10.0, 10.1, 0.1, 2, virial=3.0)
    assert got.verdict().endswith("not to be trusted: see the caution below.")


def test_an_evaluation_without_bennett_shows_forward_and_reverse():
    got = with_figures(10.0, 10.1, 0.1, 2, bennett=None)
    assert got.verdict() == (
        "7.21 and 7.29 bits per dimension (10.00 ± 0.10 and 10.10 ± 0.10 nats) by forward and "
        "reverse, as this evaluation has no estimate of Bennett's, lower is better; "
        "the estimate is trustworthy: forward and reverse agree."
    )


def test_directions_that_hardly_overlap_are_told():
    def far(x):  # 20 standard deviations wide of the base, so two temperatures do not get there
        return (x - 20).square().sum(1) / 2

    got = evaluated(far, chains=20 + normal(128, 2, seed=1), n_steps=2)
    assert got.log_z_bennett_error > 1
    assert "not to be trusted" in got.verdict()
    assert "the paths of the two directions hardly overlap, so Bennett's" in got.summary()
    near = evaluated(lambda x: x.square().sum(1) / 2, n_steps=20)
    assert near.log_z_bennett_error < 0.1
    assert "overlap" not in near.table()


def test_one_row_has_no_error_and_is_evaluated(effebm, tmp_path):
    np.save(tmp_path / "x.npy", np.array([[1.0, -1.0]]))
    run, few = tmp_path / "run", ["--ais-steps", 60, "--ais-chains", 8]
    flags = ["--data", tmp_path / "x.npy", "--ais-steps", 3, "--out", run]
    status, shown, _ = effebm(RUN[0], *RUN[3:], *flags)
    assert (status, "1 training rows" in shown, "± unknown Bennett" in shown) == (0, True, True)
    status, shown, _ = effebm("evaluate", run, *few)
    assert (status, "MMD" in shown, "inf\n" in shown, "± inf" in shown) == (0, False, False, False)
    assert shown.count("± unknown") == 4


def test_a_test_without_a_kernel_width_is_left_out(effebm, tmp_path):
    run, rows = tmp_path / "run", np.zeros((2000, 2), "float32")
    rows[:200] = np.random.default_rng(0).standard_normal((200, 2))
    np.save(tmp_path / "x.npy", rows)
    flags = ["--data", tmp_path / "x.npy", "--data-noise", 0, "--ais-steps", 3, "--out", run]
    assert effebm(*RUN, *flags)[0] == 0
    status, shown, error = effebm("evaluate", run, "--ais-chains", 4)
    assert (status, error, "MMD" in shown) == (0, "", False)
    assert json.loads((run / "evaluation.json").read_text())["mmd2"] is None


def test_estimates_of_one_chain_are_not_trusted():
    got = evaluated(lambda x: x.square().sum(1) / 2, n_chains=1, n_steps=5)
    assert math.isinf(got.gap_error)
    assert "not to be trusted: one chain gives no error of the estimates" in got.verdict()
    assert "inf" not in got.summary().partition("Caution")[0]
