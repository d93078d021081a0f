"""Ends training runs at random moments, by SIGKILL, SIGINT or SIGTERM, and resumes them; the
results must equal, in every bit, those of a run that was left alone.

    python python_tests/kill_and_resume.py --kills 200

Children are forked from a process that has loaded everything, on one thread, so that a kill takes
milliseconds.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from tqdm import tqdm

from effebm_ext.runs.command_line import cli
from effebm_ext.runs.folder import checkpoint

COMMON = [
    "--data", "eight-gaussians", "--chains", "8", "--batch-size", "8", "--langevin-steps", "2",
    "--iterations", "60", "--checkpoint-every", "4", "--ema-decay", "0.9",
    "--evaluate-every", "7", "--ais-steps", "4",
]  # fmt: skip
RUNS = {
    "contrastive": ["--compressor", "topk:0.5", "--step-size-end", "0.001", "--buffer-size", "20",
                    "--restart-probability", "0.1", "--conditional", "--data-noise", "0.1",
                    "--denoising-weight", "0.5", "--warm-up", "17"],
    "jarzynski": ["--objective", "jarzynski", "--compressor", "topk:0.5", "--moved-chains", "5",
                  "--resample-threshold", "0.9", "--following-walkers", "6"],
    "adjusted": ["--objective", "jarzynski", "--compressor", "block-sign:2", "--adjusted",
                 "--resampling", "multinomial"],
    "particle": ["--objective", "particle", "--particle-move", "beta", "--step-correction",
                 "--compressor", "topk:0.5"],
    "score matching": ["--objective", "fd-dsm", "--noise-end", "0.01"],
}  # fmt: skip
# The exit statuses that each signal may leave: a child has no handler of its own at its very start.
SIGNALS = {
    signal.SIGKILL: (-signal.SIGKILL,),
    signal.SIGINT: (130,),
    signal.SIGTERM: (143, -signal.SIGTERM),
}
MOST_KILLS = 8  # of one run, which on a machine that has become slower would never end
MOST_SECONDS = 300  # of one child, which then says where it hangs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="of each kind of run")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it for a job
    # By default a lock of all processes, which a child that is killed while it draws its progress
    # bar would keep for ever.
    tqdm.set_lock(threading.RLock())
    draw = random.Random(arguments.seed)
    for kind, own in RUNS.items():
        with tempfile.TemporaryDirectory() as name:
            kills, runs = torture(Path(name), [*COMMON, *own], arguments.kills, draw)
        print(f"{kind}: {kills} kills, {runs} runs, all equal", flush=True)


def torture(
    folder: Path, options: list[str], at_least: int, draw: random.Random
) -> tuple[int, int]:
    """Kills runs of one kind; how often, and how many they were."""
    sys.argv = ["effebm", "train", "--out", str(folder / "whole"), *options]
    cli.main()  # in this process, which loads what children would each load again
    want = result(folder / "whole")
    begin = time.monotonic()
    assert train(["--resume", str(folder / "whole")]) == 0
    assert train(["--out", str(folder / "again"), *options]) == 0
    seconds = time.monotonic() - begin
    kills = runs = 0
    while kills < at_least:
        run = folder / f"run{runs}"
        kills += finish(run, options, draw, seconds)
        assert result(run) == want, f"run {runs} differs"
        runs += 1
    return kills, runs


def finish(run: Path, options: list[str], draw: random.Random, seconds: float) -> int:
    """Starts a run and resumes it until it ends by itself; how often it was killed."""
    kills = 0
    while True:
        again = (run / "config.json").exists()  # else it was killed before it had begun
        start = ["--resume", str(run)] if again else ["--out", str(run), "--overwrite", *options]
        kill_after = draw.uniform(0, 0.5 * seconds) if kills < MOST_KILLS else None
        kind = draw.choice(list(SIGNALS))
        status = train(start, kill_after, kind)
        if status == 0:
            return kills
        assert status in SIGNALS[kind], f"{start} failed with {status} at {kind!r}"
        kills += 1


def train(
    arguments: list[str],
    kill_after: float | None = None,
    kind: signal.Signals = signal.SIGKILL,
) -> int:
    """The exit status of ``effebm train``, negative for the signal that ended it."""
    child = os.fork()
    if child == 0:
        told = os.fdopen(os.dup(2), "w")
        faulthandler.dump_traceback_later(MOST_SECONDS, exit=True, file=told)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.argv = ["effebm", "train", *arguments]
        status = 1
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        except KeyboardInterrupt:  # before cli.main handles it
            status = 130
        finally:
            os._exit(status)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, kind)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def result(run: Path) -> tuple[object, list[dict[str, float]]]:
    """The last checkpoint's trainer, tensors as their bits, and the metrics but for the clock."""

    def plain(value: object) -> object:
        if isinstance(value, torch.Tensor):
            octets = value.reshape(-1).view(torch.uint8)  # NumPy has not all dtypes
            return (str(value.dtype), tuple(value.shape), octets.numpy().tobytes())
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    lines = (run / "metrics.jsonl").read_text().splitlines()
    metrics = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
    return plain(checkpoint.load(run / "checkpoint.pt")["trainer"]), metrics


if __name__ == "__main__":
    main()
