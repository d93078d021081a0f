"""Bars show evaluations and samples too, which take minutes on images."""

import pytest
import torch

from effebm_ext.networks import MLPEnergy
from effebm_ext.runs.command_line import bars

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
    monkeypatch.setattr(bars, "_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(bars, "_DELAY", 0.0)
    energy = MLPEnergy((2,), width=4)
    with bars.calls_bar(energy, 2, "some calls"):
        for _ in range(5):
            energy(torch.zeros(1, 2))
    assert "some calls: 2 of 2" in capsys.readouterr().err


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


def test_where_there_is_no_terminal_there_are_lines(effebm, monkeypatch, tmp_path):
    monkeypatch.setattr(bars, "_BETWEEN_LINES", 0.0)
    error = effebm("train", *RUN, "--ais-steps", 0, "--out", tmp_path)[2]
    assert "\r" not in error
    lines = error.splitlines()
    assert [line.partition(",")[0] for line in lines[:3]] == ["0 of 2", "1 of 2", "2 of 2"]
    assert "energy gap" in lines[2]


def test_few_lines_are_written_into_a_log(effebm, tmp_path):
    long = [*RUN[:-1], 50]
    error = effebm("train", *long, "--ais-steps", 0, "--out", tmp_path)[2]
    assert [line.partition(",")[0] for line in error.splitlines()] == ["0 of 50", "50 of 50"]


def test_quiet_runs_print_warnings_and_errors_only(effebm, tmp_path):
    status, shown, error = effebm(
        "train", *RUN, "--ais-steps", 30, "--quiet", "--holdout", 0, "--out", tmp_path
    )
    assert (status, shown, error) == (0, "", "")
    status, shown, error = effebm("train", *RUN, "--quiet", "--out", tmp_path)
    assert (status, shown) == (2, "")
    assert error.startswith("effebm: error: out: ")


def test_runs_without_an_evaluation_show_none(effebm, tmp_path):
    status, _, error = effebm("train", *RUN, "--ais-steps", 0, "--out", tmp_path)
    assert status == 0
    assert "evaluation:" not in error
