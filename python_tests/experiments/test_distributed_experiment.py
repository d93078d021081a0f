import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from effebm_ext.runs.folder import checkpoint
from experiments.distributed import step_time
from experiments.distributed.__main__ import main
from experiments.distributed.parts import HOOKS

ROOT = Path(__file__).parents[2]


def launched(folder, n, *options):
    """Starts the experiment in n processes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", n, "-m", "experiments.distributed", "--quick"]
    return subprocess.Popen(
        list(map(str, [*command, "--out", folder, *options])),
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def workers_of(process):
    """The processes that torchrun has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"experiments.distributed" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


@pytest.fixture
def one_process(monkeypatch):
    """This process as the only one that torchrun has started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GLOO_SOCKET_IFNAME")
    for name, value in zip(names, (0, 1, "127.0.0.1", port, "lo"), strict=True):
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize("hook", HOOKS)
def test_a_run_is_judged_at_its_end(tmp_path, one_process, hook):
    done = CliRunner().invoke(main, ["--quick", "--hook", hook, "--out", str(tmp_path)])
    assert done.exception is None, done.output
    row = json.loads((tmp_path / "result.json").read_text())
    assert (row["hook"], row["processes"], row["iterations"]) == (hook, 1, 6)
    assert math.isfinite(row["cross_entropy"])


def test_iterations_are_timed_with_what_they_send(one_process, capsys):
    step_time.main(["--rounds", "2"], standalone_mode=False)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["hook"] for row in rows] == 2 * list(HOOKS)
    dense, _, signs = (row["payload"] for row in rows[:3])
    assert signs <= dense / 28


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_a_killed_process_ends_the_job_and_the_run_resumes(tmp_path):
    job = launched(tmp_path, 2, "--iterations", 100_000, "--checkpoint-every", 5)
    while not (tmp_path / "checkpoint.pt").exists():
        assert job.poll() is None, job.stdout.read()
        time.sleep(0.05)
    os.kill(workers_of(job)[-1], signal.SIGKILL)
    begin = time.monotonic()
    text = job.communicate(timeout=60)[0]
    assert time.monotonic() - begin < 30
    assert job.returncode != 0
    assert re.search(r"Signal 9 \(SIGKILL\) received by PID \d+", text)
    reached = checkpoint.load(tmp_path / "checkpoint.pt")["trainer"]["iterations"]
    assert reached >= 5
    job = launched(tmp_path, 2, "--iterations", 100_000, "--checkpoint-every", 5)
    first = next((line for line in job.stdout if "from iteration" in line), None)
    job.terminate()
    job.communicate()
    assert first == f"2 processes, from iteration {reached}\n"
