"""What the progress bar says beside the iterations."""

from __future__ import annotations

from effebm_ext.runs.config import TrainConfig
from effebm_ext.training import Trainer

_INTERVAL = 1.0  # seconds over which the speed is measured, at least


class Progress:
    """Makes the text of the progress bar.

    Args:
        config: the resolved configuration of the run.
        trainer: the trainer of the run.
    """

    def __init__(self, config: TrainConfig, trainer: Trainer) -> None:
        self._method, self._trainer = config.method, trainer
        self._moved = config.moved_chains or len(trainer.state.x)  # chains in every step
        self._seconds, self._step = 0.0, trainer.state.step
        self._speed = ""

    def text(self, metrics: dict[str, float]) -> str:
        """Returns the metrics of an iteration that the method shows and, where chains move, the
        steps of single chains per second since the last look."""
        seconds, step = metrics["seconds"], self._trainer.state.step
        if seconds < self._seconds + _INTERVAL:
            return self._method.progress(metrics) + self._speed
        steps = (step - self._step) * self._moved / (seconds - self._seconds)
        self._seconds, self._step = seconds, step
        self._speed = f", {steps:,.0f} chain steps/s" if steps else ""
        return self._method.progress(metrics) + self._speed
