"""The iterations of a run, with what they leave in its folder."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from effebm_ext.runs.atomic_files import naming_a_full_disk, write_text
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.evaluation.bias import bias_of_chains
from effebm_ext.runs.folder.checkpoint import CHECKPOINT
from effebm_ext.runs.folder.checkpoints import Checkpoints
from effebm_ext.runs.folder.environment import environment
from effebm_ext.runs.folder.run_files import ENVIRONMENT, METRICS, TENSORBOARD
from effebm_ext.runs.showing.gallery import Gallery
from effebm_ext.runs.showing.report_page import write_report
from effebm_ext.runs.showing.tensorboard_log import TensorBoardLog
from effebm_ext.runs.training.health import Health
from effebm_ext.runs.training.stopping import Stopped, Stopping
from effebm_ext.training import NonFiniteError, Trainer

Metrics = dict[str, float]


class Loop:
    """Makes the iterations of a run, and writes metrics, checkpoints and pictures.

    Args:
        path: the folder of the run.
        config: the resolved configuration of the run.
        dataset: all data of the run.
        trainer: the trainer of the run.
        checkpoints: the checkpoints of the run.
        progress: called with the metrics of each iteration.
        stopping: says when to stop before the last iteration; the run gets a checkpoint then.
    """

    def __init__(
        self,
        path: Path,
        config: TrainConfig,
        dataset: Dataset,
        trainer: Trainer,
        checkpoints: Checkpoints,
        progress: Callable[[Metrics], None],
        stopping: Stopping,
    ) -> None:
        self._path, self._config, self._trainer = path, config, trainer
        self._checkpoints, self._progress, self._stopping = checkpoints, progress, stopping
        self._gallery = Gallery(path, config, dataset)
        self._health = Health(config, trainer.data)
        self._board: TensorBoardLog | None = None
        self._begun = time.monotonic()

    def iteration(self) -> Metrics:
        """Makes an iteration and returns its metrics.

        Raises:
            NonFiniteError: names the iteration and the last good checkpoint, and says what to try.
        """
        with self._naming_a_cure():
            seen = self._trainer.iteration()
        more = self._health.metrics(self._trainer)
        if self._trainer.iterations % self._config.checkpoint_every == 0:
            # An iteration whose chains moved has their virial from the steps themselves.
            more = {**bias_of_chains(self._config, self._trainer), **more}
        seconds = round(time.monotonic() - self._begun, 3)
        return {"iteration": self._trainer.iterations, "seconds": seconds, **(more | seen)}

    def run(self, history: list[Metrics], *, tensorboard: bool = False) -> list[str]:
        """Makes the iterations that are not made yet.

        Args:
            history: the metrics of the iterations so far, to which those of the others are added.
            tensorboard: whether to write for TensorBoard too.

        Returns:
            The signs of failure at the end
            (:meth:`effebm_ext.runs.training.health.Health.failures`).

        Raises:
            NonFiniteError: as :meth:`iteration`.
        """
        self._begun = time.monotonic() - (history[-1]["seconds"] if history else 0.0)
        log_file = self._path / METRICS
        write_text(log_file, "".join(json.dumps(metrics) + "\n" for metrics in history))
        for metrics in history:
            self._health.look(metrics)
            self._progress(metrics)
        board: contextlib.AbstractContextManager[TensorBoardLog | None] = contextlib.nullcontext()
        if tensorboard:
            board = TensorBoardLog(self._path / TENSORBOARD, history, self._trainer.iterations)
        with (
            naming_a_full_disk(log_file),
            open(log_file, "a") as log,
            board as self._board,
            self._drawn_when_interrupted(history),
        ):

            def save(write: Callable[[], None]) -> None:
                log.flush()  # first, since the log must hold all iterations of a checkpoint
                os.fsync(log.fileno())
                with self._naming_a_cure():
                    write()

            self._iterate(history, log.write, save)
            self._gallery.draw(self._trainer, history)
        self._gallery.animate()
        write_report(self._path)
        return self._health.failures()

    def _iterate(
        self,
        history: list[Metrics],
        log: Callable[[str], object],
        save: Callable[[Callable[[], None]], None],
    ) -> None:
        trainer, every = self._trainer, self._config.checkpoint_every
        if self._checkpoints.saved is None:  # a run begins here, with its first iteration made
            self._keep_best(history[-1], save)
        while True:
            done = trainer.iterations
            if done % every == 0 and done != self._checkpoints.saved:
                save(self._checkpoint)
                self._gallery.draw_in_time(trainer, history)
            if done >= self._config.iterations or self._stopping.asked:
                break
            metrics = self.iteration()
            history.append(metrics)
            log(json.dumps(metrics) + "\n")
            self._keep_best(metrics, save)
            self._health.look(metrics)
            self._progress(metrics)
            self._gallery.draw_first(trainer, history)
            if self._board is not None:
                self._board.metrics(metrics)
        if trainer.iterations != self._checkpoints.saved:
            save(self._checkpoint)

    def _keep_best(self, metrics: Metrics, save: Callable[[Callable[[], None]], None]) -> None:
        if self._checkpoints.is_best(metrics):
            save(lambda: self._checkpoints.save_best(self._trainer))

    def _checkpoint(self) -> None:
        trainer = self._trainer
        if self._board is not None and trainer.chains is not None:
            self._board.samples(self._gallery.figure(trainer), trainer.iterations)
        write_text(self._path / ENVIRONMENT, json.dumps(environment(trainer), indent=2) + "\n")
        self._checkpoints.save(trainer)

    @contextlib.contextmanager
    def _drawn_when_interrupted(self, history: list[Metrics]) -> Iterator[None]:
        """Draws the pictures of a run that KeyboardInterrupt ends, as in a notebook."""
        try:
            yield
        except Stopped:  # a second signal does not wait for pictures
            raise
        except KeyboardInterrupt:
            self._gallery.draw(self._trainer, history)
            raise

    @contextlib.contextmanager
    def _naming_a_cure(self) -> Iterator[None]:
        try:
            yield
        except NonFiniteError as error:
            config, saved = self._config, self._checkpoints.saved
            slower = f"--learning-rate {config.learning_rate / 2:.3g}"
            if saved is None:
                cure = f"there is no checkpoint yet; try {slower} or a smaller --step-size"
            else:
                cure = (
                    f"the last good checkpoint is {self._path / CHECKPOINT} of iteration {saved}; "
                    f"try effebm train --resume {shlex.quote(str(self._path))} "
                    f"--seed {config.seed + 1} {slower}, or a smaller --step-size"
                )
            raise NonFiniteError(f"{error}; {cure}") from error
