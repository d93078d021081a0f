"""A short form of soak.py, and that it notices what it looks for, in processes of their own: the
heap of one that has done much else hides what is left behind."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEAKING = """
import soak
step, kept = soak.op(), []

def leaking():
    kept.append(bytearray(1000))
    return step()

soak.KINDS = {"leaking": lambda: leaking}
soak.main()
"""


def run(*arguments):
    command = [sys.executable, *arguments, "--steps", "4000"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_memory_stays_flat_over_many_steps():
    done = run("soak.py")
    assert done.returncode == 0, done.stderr
    kinds = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert kinds == ["op", "Langevin", "MALA"]


def test_a_soak_notices_what_every_step_leaves_behind():
    done = run("-c", LEAKING)
    assert done.returncode != 0
    assert "leaking leaves memory behind" in done.stderr
