"""Plants faults in the CUDA kernels, one at a time, and sees whether the tests notice.

    python tools/seeded_faults/run.py              all of them
    python tools/seeded_faults/run.py --random 5   some, other ones each time

Each fault is planted in a copy of the sources. The C++ tests then run on the emulated kernels,
plain; where they pass, again under AddressSanitizer, then under ThreadSanitizer. A fault that all
three let pass makes the program fail.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fault import Fault
from faults import FAULTS

ROOT = Path(__file__).resolve().parents[2]
# The quickest come first.
TESTS = (
    *("block_sum", "uniforms", "log_ratio", "metropolis", "stochastic_round", "topk", "perturb"),
    "packing",
    *("threshold_search", "block_sign", "cuda_tiers", "langevin_step"),
)
BUILDS = {"plain": "", "address": "address", "thread": "thread"}
# Seconds for a test, many times what one takes where nothing is wrong.
MOST = {"plain": 100, "address": 600, "thread": 600}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random", type=int, metavar="N", help="plant N faults, drawn at random")
    parser.add_argument("--only", help="plant those whose name contains this")
    arguments = parser.parse_args()
    chosen = [f for f in FAULTS if (arguments.only or "") in f.name]
    if arguments.random:
        chosen = random.sample(chosen, arguments.random)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in ("csrc", "tools/cuda_emulator", "CMakeLists.txt"):
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, tree / name)
        missed = [fault.name for fault in chosen if not caught(tree, fault)]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} faults caught")
    for name in missed:
        print(f"not caught: {name}")
    return 1 if missed else 0


def caught(tree: Path, fault: Fault) -> bool:
    path = tree / "csrc" / fault.file
    sound = path.read_text()
    path.write_text(planted(sound, fault))
    try:
        for build, sanitize in BUILDS.items():
            start = time.monotonic()
            how = failure(tree, build, sanitize, fault.file.startswith("cuda/"))
            if how:
                seconds = time.monotonic() - start
                print(f"{fault.name}: {build}, {how} ({seconds:.0f} s)", flush=True)
                return True
        print(f"{fault.name}: NOT CAUGHT", flush=True)
        return False
    finally:
        path.write_text(sound)


def planted(sound: str, fault: Fault) -> str:
    parts = sound.split(fault.text)
    if len(parts) <= fault.occurrence + 1:
        raise SystemExit(f"{fault.name}: its text is no longer in {fault.file}")
    head = fault.text.join(parts[: fault.occurrence + 1])
    return head + fault.instead + fault.text.join(parts[fault.occurrence + 1 :])


def failure(tree: Path, build: str, sanitize: str, cuda_only: bool) -> str:
    """Which test fails in this build; empty if none does."""
    folder = tree / "build" / build
    if not folder.exists():
        run(
            [
                "cmake",
                "-S",
                tree,
                "-B",
                folder,
                "-G",
                "Ninja",
                f"-DEFFEBM_SANITIZE={sanitize}",
                "-DEFFEBM_OPTIMIZE=-O1",  # compilation takes longer than the tests
                "-DCMAKE_CXX_FLAGS=-w",
            ]
        )
    run(["cmake", "--build", folder, "--target", *(f"{test}_test" for test in TESTS)])
    environment = {
        **os.environ,
        "TSAN_OPTIONS": "halt_on_error=1:exitcode=66",
        "ASAN_OPTIONS": "detect_stack_use_after_return=0",
        "EFFEBM_TEST_FIRST_FAILURE": "1",
    }
    prefix = ["setarch", "-R"] if sanitize == "thread" else []
    for test in TESTS:
        # Set, it leaves out some tests of cuda_tiers, too.
        skips = cuda_only and test != "cuda_tiers"
        only = {"EFFEBM_TEST_EMULATED_ONLY": "1"} if skips else {}
        try:
            done = subprocess.run(
                [*prefix, folder / f"{test}_test"],
                env={**environment, **only},
                capture_output=True,
                timeout=MOST[build],
            )
        except subprocess.TimeoutExpired:
            return f"{test} never ends"
        if done.returncode:
            return f"{test} fails"
    return ""


def run(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


if __name__ == "__main__":
    sys.exit(main())
