"""The folder of a training run: configuration, environment, metrics, checkpoint, pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import torch

from effebm_ext.runs import checkpoint
from effebm_ext.runs.checkpoint import CHECKPOINT
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data import Dataset
from effebm_ext.runs.environment import environment
from effebm_ext.runs.evaluation import Evaluation
from effebm_ext.runs.gallery import PICTURES, Gallery
from effebm_ext.runs.health import Health
from effebm_ext.runs.metrics_log import read_metrics
from effebm_ext.runs.report import evaluate
from effebm_ext.runs.tensorboard_log import TensorBoardLog, check_installed, event_files
from effebm_ext.training import NonFiniteError, Trainer

_CONFIG, _METRICS, _EVALUATION = "config.json", "metrics.jsonl", "evaluation.json"
_ENVIRONMENT = "environment.json"
_FILES = (_CONFIG, _ENVIRONMENT, _METRICS, CHECKPOINT, _EVALUATION, *PICTURES)
_TENSORBOARD = "tensorboard"
_SHOWN_DATA = 1000


class RunFolder:
    """The folder of a run. ``evaluation`` is the evaluation of the run that was trained or resumed
    last, if there is one, and ``failures`` says in words what it has not learned
    (:class:`effebm_ext.runs.health.Health`).

    Args:
        path: the folder, which is created if necessary.
        overwrite: replace the run that is already there.
        resume: continue the run that is already there.
        tensorboard: write curves and pictures for TensorBoard too, into a sub-folder of this name.

    Raises:
        FileExistsError: path holds a run and neither overwrite nor resume is set, or path is a
            file.
        FileNotFoundError: resume is set, and path holds no run.
        ModuleNotFoundError: tensorboard is asked for and not installed.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        overwrite: bool = False,
        resume: bool = False,
        tensorboard: bool = False,
    ) -> None:
        path = Path(path)
        if tensorboard:
            check_installed()
        if path.exists() and not path.is_dir():
            raise FileExistsError(f"out: expected a folder, {path} is a file")
        held = any((path / name).exists() for name in _FILES)
        if resume and not held:
            raise FileNotFoundError(f"resume: {path} holds no run")
        if held and not overwrite and not resume:
            raise FileExistsError(
                f"out: {path} already holds a run; choose another, --overwrite, or --resume it"
            )
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.evaluation: Evaluation | None = None
        self.failures: list[str] = []
        self._saved: int | None = None
        self._tensorboard = tensorboard
        self._board: TensorBoardLog | None = None

    def config(self) -> TrainConfig:
        """Returns the configuration of the run in the folder.

        Raises:
            FileNotFoundError: the run was stopped before it had begun.
            ValueError: config.json is not a configuration.
        """
        path = self.path / _CONFIG
        try:
            return TrainConfig(**json.loads(path.read_text()))
        except FileNotFoundError as error:
            raise FileNotFoundError(f"resume: the run in {self.path} had not begun") from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"resume: {path} is not a configuration: {error}") from error

    def train(
        self,
        config: TrainConfig,
        dataset: Dataset,
        trainer: Trainer,
        *,
        progress: Callable[[dict[str, float]], None] = lambda metrics: None,
    ) -> list[dict[str, float]]:
        """Runs all iterations; ``progress`` is called with the metrics of each. ``trainer`` is made
        from the same ``config`` and the whole ``dataset``; its held-out rows are evaluated.

        Raises:
            NonFiniteError: names the iteration and the last good checkpoint.
        """
        config = config.resolved(dataset.kind)
        start = time.monotonic()
        seen = self._iteration(trainer)  # a run that fails at once does not replace an older run
        (self.path / CHECKPOINT).unlink(missing_ok=True)  # first, since resuming looks for it
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)
        Gallery(self.path, config, dataset).clear()
        for path in event_files(self.path / _TENSORBOARD):
            path.unlink()
        text = json.dumps(dataclasses.asdict(config), indent=2)
        _replace(self.path / _CONFIG, text + "\n")
        health = Health(config, trainer.data)
        first = self._metrics(trainer, start, seen, health)
        return self._run(config, dataset, trainer, [first], start, progress, health)

    def resume(
        self,
        dataset: Dataset,
        trainer: Trainer,
        *,
        progress: Callable[[dict[str, float]], None] = lambda metrics: None,
    ) -> list[dict[str, float]]:
        """Continues from the last checkpoint, to the bit as if the run had not been interrupted, or
        from the beginning if there is no checkpoint yet. ``trainer`` is made from :meth:`config`.

        Raises:
            CheckpointError: the checkpoint is damaged or belongs to another run.
            ValueError: the data have changed since the run began.
            NonFiniteError: as :meth:`train`.
        """
        config = self.config().resolved(dataset.kind)
        if not (self.path / CHECKPOINT).exists():
            return self.train(config, dataset, trainer, progress=progress)
        content = checkpoint.load(self.path / CHECKPOINT)
        try:
            digest = content["digest"]
            trainer.load_state_dict(content["trainer"])
            _check_optimizer(trainer.optimizer)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise checkpoint.CheckpointError(
                f"checkpoint: {self.path / CHECKPOINT} is not of this run: {error}"
            ) from error
        checkpoint.check_finite(self.path / CHECKPOINT, trainer.energy)
        checkpoint.check_finite(self.path / CHECKPOINT, trainer.model)
        if digest != dataset.digest():
            raise ValueError(f"data: {config.data} has changed since the run began")
        self._saved = trainer.iterations
        history = read_metrics(self.path / _METRICS, trainer.iterations)
        spent = history[-1]["seconds"] if history else 0.0
        start, health = time.monotonic() - spent, Health(config, trainer.data)
        return self._run(config, dataset, trainer, history, start, progress, health)

    def _run(
        self,
        config: TrainConfig,
        dataset: Dataset,
        trainer: Trainer,
        history: list[dict[str, float]],
        start: float,
        progress: Callable[[dict[str, float]], None],
        health: Health,
    ) -> list[dict[str, float]]:
        """Runs the iterations that are not in ``history`` yet, up to the last."""
        lines = "".join(json.dumps(metrics) + "\n" for metrics in history)
        _replace(self.path / _METRICS, lines)
        for metrics in history:
            health.look(metrics)
            progress(metrics)
        board: contextlib.AbstractContextManager[TensorBoardLog | None] = contextlib.nullcontext()
        if self._tensorboard:
            board = TensorBoardLog(self.path / _TENSORBOARD, history)
        gallery = Gallery(self.path, config, dataset)
        with (
            open(self.path / _METRICS, "a") as log,
            board as self._board,
            _drawn_when_interrupted(gallery, trainer, history),
        ):
            while True:
                done = trainer.iterations
                if done % config.checkpoint_every == 0 and done != self._saved:
                    self._save(config, dataset, trainer, log, gallery)
                    gallery.draw_in_time(trainer, history)
                if done >= config.iterations:
                    break
                seen = self._iteration(trainer)
                history.append(self._metrics(trainer, start, seen, health))
                log.write(json.dumps(history[-1]) + "\n")
                health.look(history[-1])
                progress(history[-1])
                if self._board is not None:
                    self._board.metrics(history[-1])
            if trainer.iterations != self._saved:
                self._save(config, dataset, trainer, log, gallery)
        self.failures = health.failures()
        gallery.draw(trainer, history)
        gallery.animate()
        if config.ais_steps:
            state = trainer.state
            labels = state.energy_kwargs.get("y")
            self.save(evaluate(config, dataset, trainer.model, state.x, labels))
        return history

    def save(self, evaluation: Evaluation) -> None:
        """Writes evaluation.json, in the place of an earlier one."""
        self.evaluation = evaluation
        text = json.dumps(dataclasses.asdict(evaluation), indent=2)
        _replace(self.path / _EVALUATION, text + "\n")

    @staticmethod
    def _metrics(
        trainer: Trainer, start: float, seen: dict[str, float], health: Health
    ) -> dict[str, float]:
        seconds = round(time.monotonic() - start, 3)
        more = health.metrics(trainer)
        return {"iteration": trainer.iterations, "seconds": seconds, **seen, **more}

    def _save(
        self,
        config: TrainConfig,
        dataset: Dataset,
        trainer: Trainer,
        log: TextIO,
        gallery: Gallery,
    ) -> None:
        content = {
            "config": dataclasses.asdict(config),
            "event_shape": list(dataset.event_shape),
            "n_classes": dataset.n_classes if config.conditional else None,
            "is_image": dataset.is_image,
            "data": dataset.x[:_SHOWN_DATA].clone(),
            "digest": dataset.digest(),
            "trainer": trainer.state_dict(),
        }
        if not all(bool(p.isfinite().all()) for p in trainer.energy.parameters()):
            raise NonFiniteError(f"iteration {trainer.iterations}: a parameter is not finite")
        log.flush()  # first, since the log must hold all iterations of the checkpoint
        os.fsync(log.fileno())
        if self._board is not None and trainer.chains is not None:
            self._board.samples(gallery.figure(trainer), trainer.iterations)
        _replace(self.path / _ENVIRONMENT, json.dumps(environment(trainer), indent=2) + "\n")
        checkpoint.save(self.path / CHECKPOINT, content)
        self._saved = trainer.iterations

    def _iteration(self, trainer: Trainer) -> dict[str, float]:
        try:
            return trainer.iteration()
        except NonFiniteError as error:
            good = "there is no checkpoint yet"
            if self._saved is not None:
                path = self.path / CHECKPOINT
                good = f"the last good checkpoint is {path} of iteration {self._saved}"
            raise NonFiniteError(f"{error}; {good}") from error


@contextlib.contextmanager
def _drawn_when_interrupted(
    gallery: Gallery, trainer: Trainer, history: list[dict[str, float]]
) -> Iterator[None]:
    """Draws the pictures of a run that is interrupted: it may have none yet."""
    try:
        yield
    except KeyboardInterrupt:
        gallery.draw(trainer, history)
        raise


def _replace(path: Path, text: str) -> None:
    """Writes a file so that it has all of its old or all of its new content whenever the process
    ends."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def _check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Refuses a state that Adam would not miss before its next step."""
    if not isinstance(optimizer, torch.optim.Adam):
        return
    for number, parameter in enumerate(p for g in optimizer.param_groups for p in g["params"]):
        for name in ("exp_avg", "exp_avg_sq"):
            shape = getattr(optimizer.state[parameter].get(name), "shape", None)
            if shape != parameter.shape:
                raise ValueError(
                    f"optimizer: expected {name} of shape {tuple(parameter.shape)} for parameter "
                    f"{number}, got {shape if shape is None else tuple(shape)}"
                )
