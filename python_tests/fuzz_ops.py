"""Makes random calls of all ops, in processes of their own, and holds what they do against plain
PyTorch: results in bits, memory around every tensor, inputs, and what an error leaves behind.

    python python_tests/fuzz_ops.py --calls 5000 --seed 0 --processes 2

A call that ends its process or does not return is one finding, and the others go on.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import NamedTuple

from fuzz.calls import make_call

PER_PROCESS = 250  # calls
START = 600  # seconds that a process may take to load torch
OUTCOMES = ("crashed", "hung", "wrong")


class Outcome(NamedTuple):
    call: int
    kind: str  # right, refused, or one of OUTCOMES
    message: str = ""


Run = Callable[[int, int], Outcome]


def run_call(seed: int, number: int) -> Outcome:
    """Makes the call of this number."""
    call = make_call(seed, number)
    try:
        return Outcome(number, call.run())
    except Exception as error:  # Wrong, or what no op may raise
        return Outcome(number, "wrong", f"{error!r} of {call}")


def fuzz(
    calls: int, seed: int, processes: int, *, run: Run = run_call, patience: float = 120
) -> Iterator[Outcome]:
    """The outcomes of calls 0, 1, ..., of which each may take ``patience`` seconds."""
    chunks = [range(i, min(i + PER_PROCESS, calls)) for i in range(0, calls, PER_PROCESS)]
    with ThreadPoolExecutor(processes) as pool:
        outcomes = pool.map(lambda chunk: list(_run_chunk(run, seed, chunk, patience)), chunks)
        yield from itertools.chain.from_iterable(outcomes)


def _run_chunk(run: Run, seed: int, numbers: range, patience: float) -> Iterator[Outcome]:
    while numbers:
        for outcome in _run_process(run, seed, numbers, patience):
            numbers = numbers[1:]
            yield outcome


def _run_process(run: Run, seed: int, numbers: range, patience: float) -> Iterator[Outcome]:
    """The outcomes of some calls in one process, up to one that it does not survive."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, run, seed, numbers))
    process.start()
    sender.close()
    try:
        if receiver.poll(START):
            receiver.recv()
        for number in numbers:
            if not receiver.poll(patience):
                yield Outcome(number, "hung", f"no answer for {patience:.0f} s")
                return
            try:
                yield receiver.recv()
            except EOFError:
                process.join()
                yield Outcome(number, "crashed", f"the process ended with {process.exitcode}")
                return
    finally:
        process.kill()
        process.join()


def _work(sender: Connection, run: Run, seed: int, numbers: range) -> None:
    sender.send("ready")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what torch says of slow fallbacks
    for number in numbers:
        sender.send(run(seed, number))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one call, made in this process")
    arguments = parser.parse_args()
    if arguments.only is not None:
        print(make_call(arguments.seed, arguments.only), flush=True)
        print(*run_call(arguments.seed, arguments.only))
        return
    count = dict.fromkeys((*OUTCOMES, "right", "refused"), 0)
    for outcome in fuzz(arguments.calls, arguments.seed, arguments.processes):
        count[outcome.kind] += 1
        if outcome.kind in OUTCOMES:
            print(
                f"{outcome.kind}: {outcome.message}\n    python python_tests/fuzz_ops.py "
                f"--seed {arguments.seed} --only {outcome.call}",
                flush=True,
            )
    numbers = ", ".join(f"{count[kind]} {kind}" for kind in (*OUTCOMES, "refused"))
    print(f"{arguments.calls} calls: {numbers}")
    sys.exit(any(count[kind] for kind in OUTCOMES))


if __name__ == "__main__":
    main()
