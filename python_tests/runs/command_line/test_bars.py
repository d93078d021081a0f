"""Bars show evaluations and samples too, which take minutes on images."""

import pytest
import torch

from effebm_ext.networks import MLPEnergy
from effebm_ext.runs.command_line import bars
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import IMAGES, load
from effebm_ext.runs.trainer import make_trainer

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


def test_after_the_last_call_a_bar_names_what_comes_then(capsys, monkeypatch):
    monkeypatch.setattr(bars, "_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(bars, "_DELAY", 0.0)
    energy = MLPEnergy((2,), width=4)
    with bars.calls_bar(energy, 2, "some calls", then="a last test"):
        energy(torch.zeros(1, 2))
        assert "a last test" not in capsys.readouterr().err
        energy(torch.zeros(1, 2))
        assert "some calls: 2 of 2" in (shown := capsys.readouterr().err)
        assert "a last test" in shown


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
    note = "The evaluation takes 30 temperatures: --ais-steps sets fewer, Ctrl-C ends it.\n"
    assert error.count(note) == 1
    shown = effebm("evaluate", tmp_path, "--ais-steps", 30)[2]
    assert shown.startswith(note)
    assert "evaluation:" in shown
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


class Iterations:
    """Bars of a run that has made so many iterations, on a clock of their own."""

    def __init__(self, monkeypatch, made=0, **options):
        monkeypatch.setattr(bars, "_BETWEEN_LINES", 0.0)
        self.now = 1000.0
        monkeypatch.setattr("tqdm.std.time", lambda: self.now)
        self.config = TrainConfig(langevin_steps=1, **options).resolved(IMAGES)
        self.trainer = make_trainer(TrainConfig(chains=2), load("digits"))
        self.trainer.iterations = made
        self.bars = bars.TrainingBars(self.config, self.trainer)

    def show(self, iteration, seconds=0.0):
        self.now += seconds
        self.trainer.iterations = max(self.trainer.iterations, iteration)
        self.bars.show({"iteration": iteration, "seconds": self.now})


def test_a_run_that_goes_on_counts_its_own_iterations_only(capsys, monkeypatch):
    run = Iterations(monkeypatch, made=600, iterations=615, warm_up=0)
    with run.bars:
        for iteration in range(1, 601):
            run.show(iteration)
        run.show(601, seconds=3.0)
        run.show(602, seconds=5.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("600 of 615, 00:00 gone, ? to go")
    assert lines[1].startswith("601 of 615, 00:03 gone, 00:42 to go,  3.00s/it")
    assert lines[2].startswith("602 of 615, 00:08 gone, 00:52 to go,  4.00s/it")


def test_while_chains_rest_the_time_is_that_until_they_move(capsys, monkeypatch):
    run = Iterations(monkeypatch, iterations=40, warm_up=3)
    with run.bars:
        for iteration in (1, 2, 3):
            run.show(iteration, seconds=1.0)
        run.show(4, seconds=10.0)
        run.show(5, seconds=10.0)
    lines = [line.partition("gone, ")[2] for line in capsys.readouterr().err.splitlines()]
    resting = "warm-up, chains rest until iteration 3, for "
    assert lines[:3] == [f"{resting}{time}" for time in ("?", "?", "00:01")]
    assert lines[3].startswith("? to go")
    assert lines[4].startswith("06:00 to go, 10.00s/it")
    assert lines[5].startswith("05:50 to go, 10.00s/it")


def test_a_run_that_is_all_warm_up_shows_the_time_to_go(capsys, monkeypatch):
    run = Iterations(monkeypatch, iterations=40, warm_up=50)
    with run.bars:
        for iteration in range(1, 11):
            run.show(iteration, seconds=1.0)
    assert "10 of 40, 00:09 gone, 00:27 to go" in capsys.readouterr().err


def test_a_warm_up_that_goes_on_is_timed_by_its_own_iterations(capsys, monkeypatch):
    run = Iterations(monkeypatch, made=100, iterations=900, warm_up=500)
    with run.bars:
        for iteration in range(1, 101):
            run.show(iteration)
        for iteration in range(101, 104):
            run.show(iteration, seconds=2.0)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(
        "103 of 900, 00:06 gone, warm-up, chains rest until iteration 500, for 13:14"
    )


def test_the_bar_of_a_terminal_says_the_same(capsys, monkeypatch):
    monkeypatch.setattr(bars.sys.stderr, "isatty", lambda: True, raising=False)
    run = Iterations(monkeypatch, iterations=40, warm_up=3)
    with run.bars:
        run.show(1, seconds=1.0)
        assert "warm-up, chains rest until iteration 3" in capsys.readouterr().err
        run.show(3, seconds=1.0)
        run.show(4, seconds=10.0)
        assert "06:00, 10.00s/it" in capsys.readouterr().err


def test_lines_come_from_iterations_alone(effebm, monkeypatch, tmp_path):
    """The thread of tqdm, which watches slow bars, would write a second line beside each."""
    monkeypatch.setattr(bars, "_BETWEEN_LINES", 0.0)
    seen = []
    begin = bars.TrainingBars._begin
    monkeypatch.setattr(bars.TrainingBars, "_begin", lambda *a: seen.append(begin(*a)) or seen[-1])
    assert effebm("train", *RUN, "--ais-steps", 0, "--out", tmp_path)[0] == 0
    (bar,) = seen
    assert bar.miniters == 1  # the thread looks at bars with more


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
