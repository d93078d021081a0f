"""Progress bars of what takes long: training, evaluations, samples."""

from __future__ import annotations

import contextlib
import sys
import time
import types
from collections.abc import Iterator
from typing import Any

from torch import nn
from tqdm import tqdm

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.training.progress import Progress
from effebm_ext.runs.training.stopping import leave_terminal
from effebm_ext.training import Trainer

_DELAY = 1.0  # seconds before a bar of calls appears; what is done by then needs none
_WALKS = 3  # of an evaluation: its pilot run, forward and back
_BETWEEN_LINES = 30.0  # seconds between two lines where there is no terminal
_LINE = "{n_fmt} of {total_fmt}, {elapsed} gone, {remaining} to go, {rate_fmt}{postfix}"


class _Lines:
    """A stream that makes a line of its own of everything that a bar writes, as in a log file."""

    def write(self, text: str) -> None:
        if text.strip():
            sys.stderr.write(f"{text.strip()}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def _bar(total: int, *, quiet: bool, title: str = "", **options: Any) -> tqdm[None]:
    """Makes a bar: one that moves in a terminal, and else a line in half a minute."""
    if sys.stderr.isatty():
        options["desc"] = title
    else:
        options |= {"file": _Lines(), "bar_format": f"{title}: {_LINE}" if title else _LINE}
        options |= {"mininterval": _BETWEEN_LINES, "maxinterval": _BETWEEN_LINES}
    return tqdm(total=total, disable=quiet, dynamic_ncols=True, **options)


class TrainingBars:
    """Shows a bar of the iterations, and after the last one a bar of the evaluation.

    Args:
        config: the resolved configuration of the run.
        trainer: the trainer of the run.
        quiet: show nothing.
    """

    def __init__(self, config: TrainConfig, trainer: Trainer, *, quiet: bool = False) -> None:
        self._config, self._trainer, self._quiet = config, trainer, quiet
        self._progress = Progress(config, trainer)
        self._bars = contextlib.ExitStack()
        self._seen = 0

    def __enter__(self) -> TrainingBars:
        bar = _bar(self._config.iterations, quiet=self._quiet, unit="it")
        self._bar = self._bars.enter_context(bar)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: types.TracebackType | None,
    ) -> None:
        self._bars.__exit__(kind, error, where)

    def show(self, metrics: dict[str, float]) -> None:
        """Shows the metrics of an iteration that has ended. A terminal that is gone ends no run."""
        try:
            self._show(metrics)
        except OSError:
            leave_terminal()

    def _show(self, metrics: dict[str, float]) -> None:
        iteration = int(metrics["iteration"])
        self._bar.update(iteration - self._seen)  # the metrics of some may be missing
        self._seen = iteration
        self._bar.set_postfix_str(self._progress.text(metrics), refresh=False)
        if iteration == self._config.iterations and self._config.ais_steps:
            self._bar.close()
            model, n_steps = self._trainer.model, self._config.ais_steps
            self._bars.enter_context(evaluation_bar(model, n_steps, quiet=self._quiet))


def evaluation_bar(
    energy: nn.Module, n_steps: int, *, quiet: bool = False
) -> contextlib.AbstractContextManager[None]:
    """Shows a bar while an energy is evaluated over ``n_steps`` temperatures inside the block."""
    return calls_bar(energy, _WALKS * n_steps + n_steps // 10, "evaluation", quiet=quiet)


@contextlib.contextmanager
def calls_bar(energy: nn.Module, total: int, title: str, *, quiet: bool = False) -> Iterator[None]:
    """Shows a bar of the calls of an energy inside the block, of which there are about ``total``.
    The bar appears after a second and disappears at the end."""
    counter = _Counter(total, title, quiet)
    hook = energy.register_forward_hook(counter)
    try:
        yield
    finally:
        hook.remove()
        counter.close()


class _Counter:
    """Counts calls, and shows a bar of them after a second. There is no bar before, since tqdm
    draws every bar there is when it writes a warning."""

    def __init__(self, total: int, title: str, quiet: bool) -> None:
        self._total, self._title, self._quiet = total, title, quiet
        self._begun, self._calls = time.monotonic(), 0
        self._bar: tqdm[None] | None = None

    def __call__(self, *_: object) -> None:
        self._calls = min(self._calls + 1, self._total)
        if self._bar is None and time.monotonic() - self._begun >= _DELAY:
            self._bar = _bar(self._total, quiet=self._quiet, title=self._title, leave=False)
        if self._bar is not None:
            self._bar.update(self._calls - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
