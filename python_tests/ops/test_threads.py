"""Which threads an op takes, seen from the number of threads of a process of its own."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")

COMMON = """
import os, sys, time
import torch
import effebm_ext as eff

torch.set_num_threads(1)

def threads():
    return len(os.listdir("/proc/self/task"))

def state(rows, dim):
    return torch.arange(rows * dim, dtype=torch.float32).remainder_(7).view(rows, dim) - 3

def step(x, **options):
    return eff.langevin_step(x, x, 0.1, rng=eff.Key(1), **options).numpy().tobytes()

large = state(512, 3072)
want = step(large)
torch.set_num_threads(2)
"""


def run(code, set_up=""):
    command = [sys.executable, "-c", set_up + COMMON + code]
    return subprocess.run(command, check=True, timeout=300)


def test_small_work_takes_one_thread():
    run(
        """
alone = threads()
small = state(16, 64)
for x in (state(512, 2), small):
    for compressor in (None, eff.TopK(1), eff.BlockSign(2)):
        step(x, compressor=compressor)
eff.TopK(10).compress(state(64, 256))
assert threads() == alone, threads() - alone
assert step(large) == want
assert threads() == alone + 1, threads() - alone
"""
    )


def test_threads_without_a_core_are_not_waited_for_again():
    """The threads of OpenMP share one core here, so that one waits until the other has worked."""
    run(
        """
assert step(large) == want
with_openmp = threads()
for _ in range(50):
    assert step(large) == want
    if threads() > with_openmp:
        break
assert threads() == with_openmp + 1, threads() - with_openmp
""",
        set_up="import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
    )


def test_a_forked_process_steps_on_threads_of_its_own():
    """A child of a process that has OpenMP's threads, and a child of one that has a pool."""
    run(
        """
def in_child(and_then=None):
    child = os.fork()
    if child == 0:
        try:
            time.sleep(1)  # until OpenMP would be tried again if it had lost some time
            assert threads() == 1 and step(large) == want and threads() == 2, threads()
            if and_then is not None:
                and_then()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

assert step(large) == want and threads() > 1
in_child(and_then=in_child)
"""
    )
