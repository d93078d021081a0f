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
_RESTING = "warm-up, chains rest until iteration {}, for {{until}}"  # in place of the time to go
_BAR_AT_REST = "{{l_bar}}{{bar}}| {{n_fmt}}/{{total_fmt}} [{{elapsed}}, {}{{postfix}}]"
_LINE_AT_REST = "{{n_fmt}} of {{total_fmt}}, {{elapsed}} gone, {}{{postfix}}"


class _Lines:
    """A stream that makes a line of its own of everything that a bar writes, as in a log file."""

    def write(self, text: str) -> None:
        if text.strip():
            sys.stderr.write(f"{text.strip()}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def _options(*, quiet: bool, title: str = "") -> dict[str, Any]:
    """Returns the options of a bar: one that moves in a terminal, and else a line in half a
    minute."""
    # With miniters tqdm looks at the clock in every update. Else its thread writes lines too.
    options = {"disable": quiet, "dynamic_ncols": True, "miniters": 1}
    if sys.stderr.isatty():
        return {**options, "desc": title}
    line = f"{title}: {_LINE}" if title else _LINE
    return {**options, "file": _Lines(), "bar_format": line, "mininterval": _BETWEEN_LINES}


class _IterationsBar(tqdm):
    """A bar whose rate is that of the iterations since :meth:`count_from`. While chains rest it
    names the time until they move, and no time to go, as iterations of a warm-up are far cheaper
    than the others.

    Args:
        rest: iterations in which the chains rest.
        made: iterations that were made before the bar.
        options: options of tqdm.
    """

    def __init__(self, rest: int, made: int, **options: Any) -> None:
        self._rest, self._made, self._from = rest, made, (0, 0.0)
        lines = "bar_format" in options
        self._at_rest = (_LINE_AT_REST if lines else _BAR_AT_REST).format(_RESTING.format(rest))
        super().__init__(**options)

    def count_from(self, iteration: int) -> None:
        """Leaves the iterations so far out of the rate."""
        self._from = iteration, super().format_dict["elapsed"]

    @property
    def format_dict(self) -> Any:
        """What tqdm shows."""
        shown = super().format_dict
        iteration, seconds = self._from
        made, took = shown["n"] - iteration, shown["elapsed"] - seconds
        shown["initial"] = shown["n"]  # tqdm shows ? if there is no rate
        shown["rate"] = made / took if made > 0 and took > 0 else None
        if shown["n"] < self._rest:
            shown |= {"bar_format": self._at_rest, "until": self._until(**shown)}
        return shown

    def _until(self, n: int, elapsed: float, **_: Any) -> str:
        """Says how long chains rest after ``n`` iterations, by those that the bar has seen."""
        if n <= self._made:
            return "?"
        left: str = tqdm.format_interval(elapsed * (self._rest - n) / (n - self._made))
        return left


class TrainingBars:
    """Shows a bar of the iterations, and after the last one a bar of the evaluation.

    Args:
        config: the resolved configuration of the run.
        trainer: the trainer of the run.
        quiet: show nothing.
    """

    def __init__(self, config: TrainConfig, trainer: Trainer, *, quiet: bool = False) -> None:
        self._config, self._trainer, self._quiet = config, trainer, quiet
        # Iterations of a run that is all warm-up cost the same, so that the time to go is known.
        self._rest = 0 if config.chains_never_move else config.chains_rest
        self._progress = Progress(config, trainer)
        self._bars = contextlib.ExitStack()
        self._bar: _IterationsBar | None = None
        self._seen = 0

    def __enter__(self) -> TrainingBars:
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
        if self._bar is None:
            self._bar = self._begin(iteration)
        self._bar.set_postfix_str(self._progress.text(metrics), refresh=False)
        if iteration > self._seen:  # the metrics of some may be missing
            if iteration <= self._rest:
                self._bar.count_from(iteration)
            self._bar.update(iteration - self._seen)
            self._seen = iteration
        if iteration == self._config.iterations and self._config.ais_steps:
            self._bar.close()
            model, n_steps = self._trainer.model, self._config.ais_steps
            self._bars.enter_context(evaluation_bar(model, n_steps, quiet=self._quiet))

    def _begin(self, iteration: int) -> _IterationsBar:
        """Makes the bar, at the iteration before the first one that is not shown again: a run that
        goes on shows the iterations of its past too."""
        made = self._trainer.iterations
        self._seen = iteration - 1 if iteration == made else made
        bar = _IterationsBar(
            self._rest,
            made,
            total=self._config.iterations,
            initial=self._seen,
            unit="it",
            **_options(quiet=self._quiet),
        )
        bar.count_from(self._seen)
        return self._bars.enter_context(bar)


def evaluation_bar(
    energy: nn.Module, n_steps: int, *, quiet: bool = False
) -> contextlib.AbstractContextManager[None]:
    """Shows a bar while an energy is evaluated over ``n_steps`` temperatures inside the block,
    after a line on how to make it shorter."""
    total = _WALKS * n_steps + n_steps // 10
    note = f"The evaluation takes {n_steps} temperatures: --ais-steps sets fewer, Ctrl-C ends it."
    return calls_bar(
        energy, total, "evaluation", quiet=quiet, note=note, then="tests of the samples"
    )


@contextlib.contextmanager
def calls_bar(
    energy: nn.Module,
    total: int,
    title: str,
    *,
    quiet: bool = False,
    note: str = "",
    then: str = "",
) -> Iterator[None]:
    """Shows a bar of the calls of an energy inside the block, of which there are about ``total``.
    The bar appears after a second, below the line ``note``, and disappears at the end. After the
    last call it names what comes ``then``."""
    counter = _Counter(total, title, quiet, note, then)
    hook = energy.register_forward_hook(counter)
    try:
        yield
    finally:
        hook.remove()
        counter.close()


class _Counter:
    """Counts calls, and shows a bar of them after a second. There is no bar before, since tqdm
    draws every bar there is when it writes a warning."""

    def __init__(self, total: int, title: str, quiet: bool, note: str, then: str) -> None:
        self._total, self._title, self._quiet = total, title, quiet
        self._note, self._then = note, then
        self._begun, self._calls = time.monotonic(), 0
        self._bar: tqdm[None] | None = None

    def __call__(self, *_: object) -> None:
        self._calls = min(self._calls + 1, self._total)
        if self._bar is None and time.monotonic() - self._begun >= _DELAY:
            if self._note and not self._quiet:
                tqdm.write(self._note, file=sys.stderr)
            options = _options(quiet=self._quiet, title=self._title)
            self._bar = tqdm(total=self._total, leave=False, **options)
        if self._bar is not None:
            if self._calls == self._total:
                self._bar.set_postfix_str(self._then, refresh=False)
            self._bar.update(self._calls - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
