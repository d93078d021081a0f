"""Bars show evaluations and samples too, which take minutes on images."""

import functools

import pytest
import torch

from effebm_ext.networks import MLPEnergy
from effebm_ext.runs import bars

RUN = ["--data", "rings", "--chains", 4, "--batch-size", 4, "--langevin-steps", 1]
RUN = [*RUN, "--iterations", 2]


def test_calls_are_counted_up_to_the_total(monkeypatch):
    seen = []
    update = bars.tqdm.update
    monkeypatch.setattr(bars, "_DELAY", 0.0)
    monkeypatch.setattr(bars.tqdm, "update", lambda bar, n: seen.append(n) or update(bar, n))
    energy = MLPEnergy((2,), width=4)
    with bars.calls_bar(energy, 2, "some calls"):
        for n in (1, 5, 3):
            energy(torch.zeros(n, 2))
    energy(torch.zeros(1, 2))  # the bar has gone
    assert seen == [1, 1, 0]
    assert not energy._forward_hooks


def test_more_calls_than_were_expected_do_no_harm(capsys, monkeypatch):
    monkeypatch.setattr(bars, "tqdm", functools.partial(bars.tqdm, mininterval=0))
    monkeypatch.setattr(bars, "_DELAY", 0.0)
    energy = MLPEnergy((2,), width=4)
    with bars.calls_bar(energy, 2, "some calls"):
        for _ in range(5):
            energy(torch.zeros(1, 2))
    assert "some calls: 100%" in capsys.readouterr().err


def test_an_error_takes_the_hook_away():
    energy = MLPEnergy((2,), width=4)
    with pytest.raises(RuntimeError), bars.calls_bar(energy, 2, "some calls"):
        energy(torch.zeros(1, 3))
    assert not energy._forward_hooks


def test_what_is_done_in_a_second_shows_no_bar(capsys):
    energy = MLPEnergy((2,), width=4)
    with bars.calls_bar(energy, 2, "some calls"):
        energy(torch.zeros(1, 2))
    assert capsys.readouterr().err == ""


def test_runs_show_their_evaluation(effebm, monkeypatch, tmp_path):
    monkeypatch.setattr(bars, "_DELAY", 0.0)
    status, _, error = effebm("train", *RUN, "--ais-steps", 30, "--out", tmp_path)
    assert status == 0
    assert "evaluation:" in error
    assert "evaluation:" in effebm("evaluate", tmp_path, "--ais-steps", 30)[2]
    picture = ["--out", tmp_path / "x.png"]
    assert "sampling:" in effebm("sample", tmp_path, "--steps", 5, *picture)[2]
    assert "sampling:" not in effebm("sample", tmp_path, *picture)[2]


def test_runs_without_an_evaluation_show_none(effebm, tmp_path):
    status, _, error = effebm("train", *RUN, "--ais-steps", 0, "--out", tmp_path)
    assert status == 0
    assert "evaluation:" not in error
