"""The command ``effebm``: waits that leave the cores to others, a quiet end if Ctrl-C comes while
modules load, then the command line.

A thread of libgomp, which runs PyTorch's loops, spins 300,000 rounds in every barrier before it
sleeps. Where another process holds the core that its partner needs, it spins against that partner
(docs/performance.md). libgomp reads GOMP_SPINCOUNT once, when torch is loaded, and importing any
part of effebm_ext loads torch: so this module lies outside, and ``import effebm_ext`` changes
nothing in the environment.
"""

from __future__ import annotations

import os
import signal

_SPIN_COUNT = "1000"
_INTERRUPTED = 130


def main() -> None:
    """Runs the command line, with GOMP_SPINCOUNT unless the user has chosen how threads wait."""
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = _SPIN_COUNT
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)
    from effebm_ext.runs.command_line import cli

    signal.signal(signal.SIGINT, before)
    cli.main()


def _leave(*_: object) -> None:
    """Ends the process at once: while modules load there is nothing to save, and an exception would
    come out of any of them as a traceback."""
    os.write(2, b"effebm: interrupted\n")
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
