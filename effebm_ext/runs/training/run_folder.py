"""The folder of a training run: configuration, environment, metrics, checkpoints, pictures."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.evaluation.evaluate import evaluate
from effebm_ext.runs.evaluation.results import Evaluation
from effebm_ext.runs.evaluation.saved import save_evaluation
from effebm_ext.runs.folder import changes as changing
from effebm_ext.runs.folder import checkpoint
from effebm_ext.runs.folder.checkpoint import CHECKPOINT
from effebm_ext.runs.folder.checkpoints import Checkpoints
from effebm_ext.runs.folder.lock import RunLock, check_unlocked
from effebm_ext.runs.folder.metrics_log import read_metrics
from effebm_ext.runs.folder.restoring import configuration, restore
from effebm_ext.runs.folder.run_files import (
    CONFIG,
    EARLIER,
    EVALUATION,
    METRICS,
    give_up_after,
    holds_run,
    read_config,
    write_config,
    written,
)
from effebm_ext.runs.showing.report_page import write_report
from effebm_ext.runs.showing.tensorboard_log import check_installed
from effebm_ext.runs.training.loop import Loop
from effebm_ext.runs.training.stopping import Stopping
from effebm_ext.training import Trainer
from effebm_ext.warn import warn

Progress = Callable[[dict[str, float]], None]


class RunFolder:
    """The folder of a run. ``evaluation`` is the evaluation of the run that was trained or resumed
    last, if there is one, and ``failures`` says in words what it has not learned
    (:class:`effebm_ext.runs.training.health.Health`).

    Args:
        path: the folder, which is created when a run begins. To resume, it may also be one of the
            run's checkpoints, from which the run goes on; what came after it is given up.
        overwrite: replace the run that is already there; no other file is removed.
        resume: continue the run that is already there.
        tensorboard: write curves and pictures for TensorBoard too, into a sub-folder of this name.

    Raises:
        FileExistsError: path holds a run and neither overwrite nor resume is set, or it holds a
            file of the name of a run's file and no run, or it is a file.
        FileNotFoundError: resume is set, and path holds no run.
        effebm_ext.runs.folder.lock.FolderInUseError: another process trains in path.
        ModuleNotFoundError: tensorboard is asked for and not installed.
        ValueError: path is empty.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        overwrite: bool = False,
        resume: bool = False,
        tensorboard: bool = False,
    ) -> None:
        if path == "":
            raise ValueError(f"{'resume' if resume else 'out'}: expected a folder, got no name")
        path = Path(path)
        if tensorboard:
            check_installed()
        self._from = path / CHECKPOINT
        if resume and path.is_file():
            self._from, path = path, _folder_of(path)
        if path.exists() and not path.is_dir():
            raise FileExistsError(f"out: expected a folder, {path} is a file")
        if resume and not any((path / name).exists() for name in (CONFIG, CHECKPOINT)):
            raise FileNotFoundError(f"resume: {path} holds no run")
        check_unlocked(path)
        self.path, self._overwrite = path, overwrite
        if not resume:
            self._check_free()
        self._begun = resume
        self.evaluation: Evaluation | None = None
        self.failures: list[str] = []
        self._tensorboard = tensorboard
        self._checkpoints: Checkpoints | None = None

    def config(self) -> TrainConfig:
        """Returns the configuration of the run in the folder: that of the checkpoint, with the
        changes that were made in config.json since.

        Raises:
            ValueError: config.json is not a configuration, or changes what a run must keep.
            effebm_ext.runs.folder.checkpoint.CheckpointError: the checkpoint is damaged.
        """
        if not self._from.exists():
            return read_config(self.path / CONFIG)
        kept = configuration(checkpoint.load(self._from), self._from)
        return changing.in_force(*kept, self.path)

    def train(
        self,
        config: TrainConfig,
        dataset: Dataset,
        trainer: Trainer,
        *,
        progress: Progress = lambda metrics: None,
        stopping: Stopping | None = None,
    ) -> None:
        """Runs all iterations; ``progress`` is called with the metrics of each. ``trainer`` is made
        from the same ``config`` and the whole ``dataset``; its held-out rows are evaluated.
        ``stopping`` is entered by the caller, if signals shall end the run in good order.

        Raises:
            NonFiniteError: names the iteration and the last good checkpoint.
            FileExistsError: another run was made in the folder meanwhile.
            effebm_ext.runs.folder.lock.FolderInUseError: another process trains in the folder.
            effebm_ext.runs.atomic_files.DiskFullError: a file has no room.
            effebm_ext.runs.training.stopping.Stopped: a signal came; the run has a checkpoint.

        Warns:
            RuntimeWarning: all iterations are warm-up, so that the chains never move.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with RunLock(self.path):
            self._check_free()
            config = config.resolved(dataset.kind)
            self._train(config, dataset, trainer, progress, stopping or Stopping())

    def resume(
        self,
        config: TrainConfig,
        dataset: Dataset,
        trainer: Trainer,
        *,
        progress: Progress = lambda metrics: None,
        stopping: Stopping | None = None,
    ) -> None:
        """Continues from the last checkpoint, to the bit as if the run had not been interrupted, or
        from the beginning if there is no checkpoint yet.

        Args:
            config: :meth:`config`, or this with changes of the options in
                :data:`effebm_ext.runs.folder.changes.CHANGEABLE`, which the run's history then
                tells.
            dataset: the data of the run.
            trainer: made from config and dataset.
            progress: as in :meth:`train`.
            stopping: as in :meth:`train`.

        Raises:
            CheckpointError: the checkpoint is damaged or belongs to another run.
            ValueError: the data have changed since the run began, or config changes what a run must
                keep.
            NonFiniteError and others: as :meth:`train`.

        Warns:
            RuntimeWarning: as :meth:`train`.
        """
        config, stopping = config.resolved(dataset.kind), stopping or Stopping()
        with RunLock(self.path):
            begin = self._go_on if self._from.exists() else self._train
            begin(config, dataset, trainer, progress, stopping)

    def how_to_go_on(self) -> str:
        """Returns the command that resumes the run; an empty string if it has not begun."""
        if not self._begun:
            return ""
        return f"effebm train --resume {shlex.quote(str(self.path))}"

    def where_it_stopped(self, made: int) -> str:
        """Says in words what is saved of a run that was interrupted, whose trainer has made so many
        iterations."""
        saved = None if self._checkpoints is None else self._checkpoints.saved
        if not self._begun:
            return "stopped before the first iteration ended; nothing was saved"
        if saved is not None and saved == made:
            return f"stopped after iteration {saved}"
        if saved is not None:
            return f"stopped at once; the last checkpoint is of iteration {saved}"
        if self._checkpoints is None:
            return "stopped before an iteration was made; the run is as it was"
        return "stopped at once; there is no checkpoint yet, so the run will begin anew"

    def _train(
        self,
        config: TrainConfig,
        dataset: Dataset,
        trainer: Trainer,
        progress: Progress,
        stopping: Stopping,
    ) -> None:
        _warn_of_rest(config)
        checkpoints = Checkpoints(self.path, config, dataset, dataset.digest(), history=[])
        self._checkpoints = checkpoints
        loop = Loop(self.path, config, dataset, trainer, checkpoints, progress, stopping)
        with stopping.deferred():
            first = loop.iteration()  # a run that fails at once does not replace an older run
            for path in written(self.path):
                if path.name != CONFIG:  # replaced, as a folder without it holds no run
                    path.unlink()
            write_config(self.path, config)
            self._begun = True
            self.failures = loop.run([first], tensorboard=self._tensorboard)
        self._evaluate(config, dataset, trainer)

    def _go_on(
        self,
        config: TrainConfig,
        dataset: Dataset,
        trainer: Trainer,
        progress: Progress,
        stopping: Stopping,
    ) -> None:
        content, digest = checkpoint.load(self._from), dataset.digest()
        made = restore(trainer, config, digest, content, self._from)
        history = list(content.get("history", []))
        if made:
            history.append(changing.entry(trainer.iterations, made))
        _warn_of_rest(config)
        checkpoints = Checkpoints(
            self.path, config, dataset, digest, before=content, history=history
        )
        self._checkpoints = checkpoints
        loop = Loop(self.path, config, dataset, trainer, checkpoints, progress, stopping)
        goes_back = self._from != self.path / CHECKPOINT
        with stopping.deferred():
            if made or goes_back:  # the iterations that come are not those that came here before
                checkpoints.save(trainer)
                give_up_after(self.path, trainer.iterations)
            if goes_back:
                (self.path / EVALUATION).unlink(missing_ok=True)
            write_config(self.path, config)
            changing.write_history(self.path, history)
            metrics = read_metrics(self.path / METRICS, trainer.iterations)
            self.failures = loop.run(metrics, tensorboard=self._tensorboard)
        self._evaluate(config, dataset, trainer)

    def _evaluate(self, config: TrainConfig, dataset: Dataset, trainer: Trainer) -> None:
        if config.ais_steps:
            labels = trainer.state.energy_kwargs.get("y")
            self.evaluation = evaluate(config, dataset, trainer.model, trainer.samples, labels)
            save_evaluation(self.path / EVALUATION, self.evaluation)
            write_report(self.path)

    def _check_free(self) -> None:
        """Refuses a folder where a run would take the place of something else."""
        there = written(self.path) if self.path.exists() else []
        if not there:
            return
        if not holds_run(self.path):
            raise FileExistsError(
                f"out: {self.path} holds no run of effebm_ext, but {there[-1].name}, which a run "
                "would replace; choose another folder"
            )
        if not self._overwrite:
            raise FileExistsError(
                f"out: {self.path} already holds a run; choose another, --overwrite, or --resume it"
            )


def _warn_of_rest(config: TrainConfig) -> None:
    """Warns of a warm-up that is as long as the run, as in the config.json of a longer one."""
    if config.chains_never_move:
        # No error: the loss of the warm-up is one to train by, and the run may go on later.
        warn(
            f"warm_up: expected less than iterations, {config.iterations}, got {config.warm_up}: "
            "the run ends in its warm-up, and its chains never move"
        )


def _folder_of(path: Path) -> Path:
    """Returns the folder of the run that a checkpoint belongs to."""
    return path.parent.parent if path.parent.name == EARLIER else path.parent
