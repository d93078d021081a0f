"""Checks an installed effebm_ext by the interpreter that runs this file.

    python tools/smoke_test.py

It asks four things: the package and its kernels come from the installation and have its version;
``effebm info`` runs; the kernels give the bits of the references in plain PyTorch; ``effebm train``
trains a small model and ``effebm sample`` draws from it. It needs the extra ``train``. The first
check that fails ends it with one line and exit status 1.
"""

from __future__ import annotations

import itertools
import json
import math
import platform
import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata
from pathlib import Path

import torch

import effebm_ext as eff
from effebm_ext import _C
from effebm_ext.ops.langevin_step import langevin_step_reference

EFFEBM = Path(sysconfig.get_path("scripts")) / "effebm"
WITH_FEEDBACK = (eff.TopK(ratio=0.1), eff.BlockSign(64))
WITHOUT_FEEDBACK = (None, eff.NaturalCompression(), eff.RandomK(ratio=0.1), eff.RandomBlock(5))
SHORT = ("--iterations", "5", "--langevin-steps", "10", "--warm-up", "0", "--ais-steps", "0")


class Failure(Exception):
    """A check failed; the text says which, what was expected and what came."""


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise Failure(message)


def check_installation() -> str:
    """The package and its kernels lie in this environment and are of one version."""
    environment = Path(sys.prefix).resolve()
    for part in (eff, _C):
        path = Path(part.__file__).resolve()
        expect(
            path.is_relative_to(environment),
            f"{part.__name__} is {path}, not of the environment {environment}",
        )
    installed = metadata.version("effebm_ext")
    expect(
        eff.__version__ == installed,
        f"effebm_ext.__version__ is {eff.__version__}, that of the installation {installed}",
    )
    return (
        f"effebm_ext {installed} with torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}"
    )


def run(*arguments: str | Path, folder: Path) -> str:
    """Runs ``effebm`` in a folder and returns what it prints."""
    command = [str(EFFEBM), *map(str, arguments)]
    expect(EFFEBM.exists(), f"the command {EFFEBM} is missing")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    expect(
        done.returncode == 0,
        f"effebm {' '.join(command[1:])} ended with status {done.returncode}: "
        f"{(done.stderr or done.stdout).strip()}",
    )
    return done.stdout


def check_info(folder: Path) -> str:
    printed = run("info", folder=folder)
    expect(eff.__version__ in printed, f"effebm info does not name its version: {printed}")
    return printed.strip()


def check_ops() -> str:
    """Three steps of the op have the bits of the reference."""
    compressors = (*WITH_FEEDBACK, *WITHOUT_FEEDBACK)
    cases = list(itertools.product(compressors, (torch.float32, torch.bfloat16), (7, 1000)))
    for compressor, dtype, size in cases:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(5, size, generator=generator).to(dtype)
        residual = torch.zeros(5, size) if compressor in WITH_FEEDBACK else None
        expected, kept = x.clone(), residual
        for step in range(3):
            grad = torch.randn(5, size, generator=generator).to(dtype)
            expected, kept = langevin_step_reference(
                expected, grad, 0.02, compressor=compressor, residual=kept, seed=1, offset=step
            )
            key = eff.Key(1, step)
            eff.langevin_step_(x, grad, 0.02, compressor=compressor, residual=residual, rng=key)
        case = f"langevin_step_ with {compressor} on {dtype}, rows of {size}"
        expect(torch.equal(x, expected), f"{case}: the state differs from the reference")
        if residual is not None:
            expect(torch.equal(residual, kept), f"{case}: the residual differs from the reference")
    return f"ops: {len(cases)} cases of langevin_step_ have the bits of the reference"


def check_training(folder: Path) -> str:
    """A short training writes finite metrics, and its model can be sampled from."""
    run("train", "--data", "digits", "--out", "run", *SHORT, "--quiet", folder=folder)
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    unfinite = [k for k, v in last.items() if isinstance(v, float) and not math.isfinite(v)]
    expect(not unfinite, f"effebm train: {', '.join(unfinite)} of the last iteration: {last}")
    run("sample", "run", "--n", "4", "--steps", "5", "--out", "samples.png", folder=folder)
    expect((folder / "samples.png").exists(), "effebm sample wrote no samples.png")
    return f"training: {len(lines)} lines of metrics, the last {lines[-1]}"


def main() -> int:
    # Users have names with spaces.
    with tempfile.TemporaryDirectory(prefix="smoke test ") as name:
        folder = Path(name)
        try:
            print(check_installation(), flush=True)
            print(check_info(folder), flush=True)
            print(check_ops(), flush=True)
            print(check_training(folder), flush=True)
        except Failure as failure:
            print(f"smoke test: FAILED: {failure}", file=sys.stderr)
            return 1
    print("smoke test: passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
