"""Progress bars of what takes long: training, evaluations, samples."""

from __future__ import annotations

import contextlib
import time
import types
from collections.abc import Iterator

from torch import nn
from tqdm import tqdm

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.progress import Progress
from effebm_ext.runs.stopping import leave_terminal
from effebm_ext.training import Trainer

_DELAY = 1.0  # seconds before a bar of calls appears; what is done by then needs none
_WALKS = 3  # of an evaluation: its pilot run, forward and back


class TrainingBars:
    """Shows a bar of the iterations, and after the last one a bar of the evaluation.

    Args:
        config: the resolved configuration of the run.
        trainer: the trainer of the run.
    """

    def __init__(self, config: TrainConfig, trainer: Trainer) -> None:
        self._config, self._trainer = config, trainer
        self._progress = Progress(config, trainer)
        self._bars = contextlib.ExitStack()
        self._seen = 0

    def __enter__(self) -> TrainingBars:
        bar = tqdm(total=self._config.iterations, unit="it", dynamic_ncols=True)
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
            self._bars.enter_context(evaluation_bar(self._trainer.model, self._config.ais_steps))


def evaluation_bar(energy: nn.Module, n_steps: int) -> contextlib.AbstractContextManager[None]:
    """Shows a bar while an energy is evaluated over ``n_steps`` temperatures inside the block."""
    return calls_bar(energy, _WALKS * n_steps + n_steps // 10, "evaluation")


@contextlib.contextmanager
def calls_bar(energy: nn.Module, total: int, title: str) -> Iterator[None]:
    """Shows a bar of the calls of an energy inside the block, of which there are about ``total``.
    The bar appears after a second and disappears at the end."""
    counter = _Counter(total, title)
    hook = energy.register_forward_hook(counter)
    try:
        yield
    finally:
        hook.remove()
        counter.close()


class _Counter:
    """Counts calls, and shows a bar of them after a second. There is no bar before, since tqdm
    draws every bar there is when it writes a warning."""

    def __init__(self, total: int, title: str) -> None:
        self._total, self._title = total, title
        self._begun, self._calls = time.monotonic(), 0
        self._bar: tqdm[None] | None = None

    def __call__(self, *_: object) -> None:
        self._calls = min(self._calls + 1, self._total)
        if self._bar is None and time.monotonic() - self._begun >= _DELAY:
            self._bar = tqdm(total=self._total, desc=self._title, dynamic_ncols=True, leave=False)
        if self._bar is not None:
            self._bar.update(self._calls - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
