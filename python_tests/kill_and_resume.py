"""Kills training runs at random moments and resumes them; the results must equal, in every bit,
those of a run that was left alone.

    python python_tests/kill_and_resume.py --kills 200

Children are forked from a process that has loaded everything, on one thread, so that a kill takes
milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

from effebm_ext import checkpoint, cli

RUN = ["--data", "eight-gaussians", "--compressor", "topk:0.5", "--chains", "8", "--batch-size",
       "8", "--langevin-steps", "2", "--iterations", "60", "--checkpoint-every", "4",
       "--ema-decay", "0.9", "--step-size-end", "0.001", "--buffer-size", "20",
       "--restart-probability", "0.1", "--evaluate-every", "7", "--ais-steps", "4",
       "--conditional"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sys.argv = ["effebm", "train", "--out", str(folder / "whole"), *RUN]
        cli.main()  # in this process, which loads what children would each load again
        want = result(folder / "whole")
        begin = time.monotonic()
        assert train(["--resume", str(folder / "whole")]) == 0
        assert train(["--out", str(folder / "again"), *RUN]) == 0
        seconds = time.monotonic() - begin
        kills = runs = 0
        while kills < arguments.kills:
            run = folder / f"run{runs}"
            kills += finish(run, draw, seconds)
            assert result(run) == want, f"run {runs} differs"
            runs += 1
    print(f"{kills} kills, {runs} runs, all equal")


def finish(run: Path, draw: random.Random, seconds: float) -> int:
    """Starts a run and resumes it until it ends by itself; how often it was killed."""
    kills = 0
    while True:
        again = (run / "config.json").exists()  # else it was killed before it had begun
        start = ["--resume", str(run)] if again else ["--out", str(run), "--overwrite", *RUN]
        status = train(start, kill_after=draw.uniform(0, 0.5 * seconds))
        if status == 0:
            return kills
        assert status == -signal.SIGKILL, f"{start} failed with {status}"
        kills += 1


def train(arguments: list[str], kill_after: float | None = None) -> int:
    """The exit status of ``effebm train``, negative for the signal that ended it."""
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.argv = ["effebm", "train", *arguments]
        status = 1
        try:
            cli.main()
            status = 0
        finally:
            os._exit(status)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def result(run: Path) -> tuple[object, list[dict[str, float]]]:
    """The last checkpoint's trainer, tensors as their bits, and the metrics but for the clock."""

    def plain(value: object) -> object:
        if isinstance(value, torch.Tensor):
            return (str(value.dtype), tuple(value.shape), value.numpy().tobytes())
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    lines = (run / "metrics.jsonl").read_text().splitlines()
    metrics = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
    return plain(checkpoint.load(run / "checkpoint.pt")["trainer"]), metrics


if __name__ == "__main__":
    main()
