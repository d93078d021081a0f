"""The checkpoints that a run keeps: the last ones, and the best by held-out cross-entropy."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import shutil
from pathlib import Path
from typing import Any

from effebm_ext.runs.atomic_files import replacing
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.folder import checkpoint
from effebm_ext.runs.folder.checkpoint import BEST, CHECKPOINT
from effebm_ext.runs.folder.run_files import EARLIER, EVALUATION, numbered
from effebm_ext.training import NonFiniteError, Trainer

_SHOWN_DATA = 1000


class Checkpoints:
    """Writes the checkpoints of a run: ``checkpoint.pt`` is the last, ``checkpoints/000100.pt`` and
    so on are earlier ones, and ``best.pt`` is that of the best cross-entropy so far.

    Args:
        path: the folder of the run.
        config: the resolved configuration of the run.
        dataset: all data of the run.
        digest: their digest, which takes a while to compute.
        before: the content of the checkpoint from which the run goes on; None: there is none.
        history: the changes of the run so far (:func:`effebm_ext.runs.folder.changes.entry`).

    Attributes:
        saved: the iteration of the last checkpoint, or None.
    """

    def __init__(
        self,
        path: Path,
        config: TrainConfig,
        dataset: Dataset,
        digest: str,
        *,
        before: dict[str, Any] | None = None,
        history: list[dict[str, Any]],
    ) -> None:
        self._path, self._keep = path, config.keep_checkpoints
        self._same = {
            "config": dataclasses.asdict(config),
            "event_shape": list(dataset.event_shape),
            "n_classes": dataset.n_classes if config.conditional else None,
            "class_names": list(dataset.class_names),
            "is_image": dataset.is_image,
            "data": dataset.examples(_SHOWN_DATA, seed=config.seed_of_data).x,
            "digest": digest,
            "history": history,
        }
        self.saved: int | None = None
        self._best = math.inf
        if before is not None:
            self.saved = before["trainer"]["iterations"]
            self._best = before.get("best", math.inf)

    def save(self, trainer: Trainer) -> None:
        """Writes the checkpoint, and keeps as many of the earlier ones as asked. Those of later
        iterations, from which the run went back, are removed, and so is the evaluation of an
        earlier iteration.

        Raises:
            effebm_ext.training.NonFiniteError: a parameter is not finite.
            effebm_ext.runs.atomic_files.DiskFullError: there is no room for it.
        """
        if not all(bool(p.isfinite().all()) for p in trainer.energy.parameters()):
            raise NonFiniteError(f"iteration {trainer.iterations}: a parameter is not finite")
        last = self._path / CHECKPOINT
        if self.saved is not None and self.saved < trainer.iterations:
            (self._path / EVALUATION).unlink(missing_ok=True)
            if self._keep > 1:
                (self._path / EARLIER).mkdir(exist_ok=True)
                _copy(last, self._path / EARLIER / f"{self.saved:06d}.pt")
        checkpoint.save(last, self._content(trainer))
        self.saved = trainer.iterations
        earlier = numbered(self._path, EARLIER)
        kept = [path for path in earlier if int(path.stem) < trainer.iterations]
        for path in set(earlier) - set(kept[max(0, len(kept) + 1 - self._keep) :]):
            path.unlink()

    def is_best(self, metrics: dict[str, float]) -> bool:
        """Returns whether an iteration measured a cross-entropy, by Bennett's estimate, that is
        better than all before."""
        found = metrics.get("cross_entropy_bennett", math.inf)
        better = found < self._best
        self._best = found if better else self._best
        return better

    def save_best(self, trainer: Trainer) -> None:
        """Writes ``best.pt``."""
        checkpoint.save(self._path / BEST, self._content(trainer))

    def _content(self, trainer: Trainer) -> dict[str, Any]:
        return {**self._same, "best": self._best, "trainer": trainer.state_dict()}


def _copy(source: Path, target: Path) -> None:
    """Gives a file a second name, or a copy where the file system has no second names."""
    with replacing(target, source.stat().st_size) as temporary:
        with contextlib.suppress(OSError):
            os.link(source, temporary)
            return
        shutil.copyfile(source, temporary)
