"""Calls that do not come back, which a child process imports for the test of the fuzz."""

import os
import signal
import time

from fuzz_ops import Outcome


def die_at_two(seed: int, number: int) -> Outcome:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(number, "right")


def hang_at_two(seed: int, number: int) -> Outcome:
    time.sleep(600 if number == 2 else 0)
    return Outcome(number, "right")
