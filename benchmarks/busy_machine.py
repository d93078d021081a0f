"""Training beside other busy processes: how long threads should spin before they sleep.

    python benchmarks/busy_machine.py --runs 5

Times ``effebm train`` on digits in ways that differ only in the environment of the process, in
turn, alone and beside processes that do nothing but keep a core busy. The time is the run's own
clock at its last iteration, so that loading PyTorch does not count.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
CHOICES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
TRAIN = ["train", "--data", "digits", "--ais-steps", "0", "--iterations"]


@contextlib.contextmanager
def neighbours(n: int) -> Iterator[None]:
    """Processes that keep a core busy each."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def seconds(iterations: int, environment: dict[str, str]) -> float:
    """Of one run. Started as a module of the package, which sets nothing by itself."""
    kept = {name: value for name, value in os.environ.items() if name not in CHOICES}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "effebm_ext", *TRAIN, str(iterations), "--out", str(out)]
        environment = {**kept, "PYTHONPATH": path, **environment}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        last = (out / "metrics.jsonl").read_text().splitlines()[-1]
    return float(json.loads(last)["seconds"])


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--runs", default=5, show_default=True, help="of every way; medians are printed")
@click.option("--iterations", default=150, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--beside", default="0,1,3", show_default=True, help="numbers of busy processes")
@click.option("--spin-counts", default="100,1000,10000", show_default=True)
def main(runs: int, iterations: int, threads: int, beside: str, spin_counts: str) -> None:
    """Seconds of training by how threads wait, beside busy processes."""
    many = {"OMP_NUM_THREADS": str(threads)}
    ways = {"default": many}
    for count in spin_counts.split(","):
        ways[f"spin {count}"] = {**many, "GOMP_SPINCOUNT": count}
    ways |= {"passive": {**many, "OMP_WAIT_POLICY": "passive"}}
    ways |= {"one thread": {"OMP_NUM_THREADS": "1"}}
    click.echo(f"load before: {os.getloadavg()[0]:.2f}; {iterations} iterations, medians (range)")
    for n in map(int, beside.split(",")):
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(runs):
            for name, environment in ways.items():
                with neighbours(n):
                    times[name].append(seconds(iterations, environment))
        for name, seen in times.items():
            low, middle, high = min(seen), statistics.median(seen), max(seen)
            click.echo(f"beside {n}: {name:12} {middle:7.2f} s ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
