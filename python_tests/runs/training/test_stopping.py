"""Signals end a run in good order: a checkpoint, pictures, and a word on how to go on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kill_and_resume import result

from effebm_ext.runs.command_line import cli
from effebm_ext.runs.folder import checkpoint
from effebm_ext.runs.training.stopping import Stopped, Stopping

ROOT = Path(__file__).parents[3]
RUN = ["--data", "two-moons", "--compressor", "block-sign:2", "--chains", 4, "--batch-size", 4,
       "--langevin-steps", 2, "--iterations", 8, "--checkpoint-every", 100, "--ais-steps", 0,
       "--width", 8, "--depth", 1, "--ema-decay", 0.9]  # fmt: skip
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]
LONG = 300  # seconds to wait for what takes a second where nothing else runs


@pytest.fixture(autouse=True)
def none_is_ignored():
    """Signals do what they do by default, also where nohup or a shell ignores some of them."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def signalled(effebm, monkeypatch):
    """Runs the command line; signals come when its third iteration is shown."""

    def run(*arguments, signals):
        seen = []

        def update(bar, n=1):
            seen.append(bar)
            if len(seen) == 3:
                for number in signals:
                    signal.raise_signal(number)

        with monkeypatch.context() as patch:
            patch.setattr(cli.tqdm, "update", update)
            return effebm(*arguments)

    return run


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_run_which_goes_on_to_the_bit(effebm, signalled, tmp_path, number):
    run, whole, before = tmp_path / "run", tmp_path / "whole", signal.getsignal(number)
    status, _, error = signalled("train", *RUN, "--out", run, signals=[number])
    assert status == 128 + number
    assert "effebm: stopped after iteration 3\n" in error
    assert "error" not in error
    assert f"effebm: go on with: effebm train --resume {run}\n" in error
    assert signal.getsignal(number) == before
    assert checkpoint.load(run / "checkpoint.pt")["trainer"]["iterations"] == 3
    assert (run / "samples" / "000003.png").exists()
    assert (run / "curves.png").exists()
    assert not (run / "lock").exists()
    assert effebm("train", "--resume", run)[0] == 0
    assert effebm("train", *RUN, "--out", whole)[0] == 0
    assert result(run) == result(whole)


def test_a_second_signal_ends_the_run_at_once(signalled, tmp_path):
    signals = [signal.SIGTERM, signal.SIGINT]
    status, _, error = signalled("train", *RUN, "--out", tmp_path / "run", signals=signals)
    assert status == 130
    assert "effebm: stopped at once; there is no checkpoint yet" in error
    assert "effebm: go on with: " in error
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"config.json", "metrics.jsonl"}


def test_a_second_signal_names_the_last_checkpoint(effebm, signalled, tmp_path):
    run = tmp_path / "run"
    signalled("train", *RUN, "--out", run, signals=[signal.SIGTERM])
    again = [signal.SIGTERM, signal.SIGINT]
    error = signalled("train", "--resume", run, signals=again)[2]
    assert "effebm: stopped at once; the last checkpoint is of iteration 3\n" in error


@pytest.mark.parametrize("again", [False, True])
def test_a_run_that_is_stopped_as_it_loads_says_so(effebm, monkeypatch, tmp_path, again):
    if again:
        assert effebm("train", *RUN, "--out", tmp_path / "run")[0] == 0
    monkeypatch.setattr(cli, "make_trainer", lambda *_: signal.raise_signal(signal.SIGINT))
    flags = ["--resume", tmp_path / "run"] if again else [*RUN, "--out", tmp_path / "run"]
    status, _, error = effebm("train", *flags)
    assert status == 130
    said = {
        False: "effebm: stopped before the first iteration ended; nothing was saved\n",
        True: "effebm: stopped before an iteration was made; the run is as it was\n"
        f"effebm: go on with: effebm train --resume {tmp_path / 'run'}\n",
    }[again]
    assert error == said


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with Stopping() as stopping:
            signal.raise_signal(signal.SIGHUP)
            assert not stopping.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_outside_the_iterations_does_not_wait():
    with Stopping(), pytest.raises(Stopped) as error:
        signal.raise_signal(signal.SIGTERM)
    assert error.value.status == 143


def command(*arguments, **options):
    """Starts the command in a process of its own."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "effebm_command", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def wait_for(path, process):
    until = time.monotonic() + LONG
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_command_ends_in_good_order(tmp_path):
    run = tmp_path / "run"
    process = command("train", *RUN, "--iterations", 10**7, "--out", run)
    wait_for(run / "config.json", process)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=LONG)
    assert process.returncode == 143, error
    assert "Traceback" not in error
    assert "effebm: stopping after this iteration" in error
    assert f"effebm: go on with: effebm train --resume {run}\n" in error
    done = checkpoint.load(run / "checkpoint.pt")["trainer"]["iterations"]
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["iteration"] == len(lines) == done


def test_a_terminal_that_is_closed_loses_nothing(tmp_path):
    run = tmp_path / "run"
    ours, its = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "effebm_command", "train", *map(str, RUN), "--iterations",
         str(10**7), "--out", str(run)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=its, stdout=its, stderr=its, start_new_session=True,
    )  # fmt: skip
    os.close(its)
    os.set_blocking(ours, False)
    wait_for(run / "config.json", process)
    os.close(ours)  # what the process writes fails from now on
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=LONG) == 129
    assert checkpoint.load(run / "checkpoint.pt")["trainer"]["iterations"] > 0


def test_ctrl_c_while_modules_load_leaves_one_line(tmp_path):
    # A module that is loaded early says that it is, and waits.
    (tmp_path / "torch.py").write_text(
        "import time\nprint('loading', flush=True)\ntime.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "effebm_command", "info"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=LONG)
    assert (process.returncode, error) == (130, "effebm: interrupted\n")
