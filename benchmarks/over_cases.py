"""What benchmarks of one question share: options, the loop over cases, and the file of results."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import options
import report
import torch
from arms import Case
from environment import environment

_OPTIONS = (
    click.option("--shapes", callback=options.shapes_option, help="ROWSxDIM, comma-separated"),
    click.option("--device", type=click.Choice(("cpu", "cuda")), default="cpu"),
    click.option("--threads", callback=options.threads_option,
                 help="comma-separated [default: what torch takes]"),
    click.option("--seconds", default=0.5, help="of measuring per arm"),
)  # fmt: skip


def case_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that :func:`cases` takes, and ``--seconds``."""
    for add in reversed(_OPTIONS):
        command = add(command)
    return command


def cases(
    device: str, threads: list[int], shapes: list[tuple[int, int]], defaults: Mapping[str, str]
) -> Iterator[Case]:
    """Returns plain steps of every shape on every number of threads; without shapes those of
    ``defaults`` for the device.

    Raises:
        click.UsageError: the device is cuda and there is no GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("--device cuda: there is no GPU that torch can use")
    chosen = shapes or options.parse_shapes(defaults[device])
    for n, (rows, dim) in itertools.product(threads, chosen):
        yield Case("plain", rows, dim, device=device, threads=n)


@contextlib.contextmanager
def threads_of(n: int | None = None) -> Iterator[None]:
    """Sets torch's threads to ``n``, unless it is None, and puts them back at the end."""
    before = torch.get_num_threads()
    try:
        if n is not None:
            torch.set_num_threads(n)
        yield
    finally:
        torch.set_num_threads(before)


def save(out: Path | None, name: str, device: str, found: dict[str, Any]) -> None:
    """Writes results with their environment into the folder ``out``, unless it is None."""
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    report.save_json(out / f"{name}.json", {"environment": environment(device), **found})
