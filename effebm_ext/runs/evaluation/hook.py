"""A hook that evaluates the cross-entropy while a model is trained."""

from __future__ import annotations

from collections.abc import Callable

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.evaluation.evaluate import evaluate
from effebm_ext.training import Trainer


def cross_entropy_hook(
    config: TrainConfig, dataset: Dataset
) -> Callable[[Trainer], dict[str, float]]:
    """Makes a hook that returns the cross-entropy of the held-out data, by Bennett's estimate,
    forward and reverse, with a quarter of the run's temperatures; the gap between forward and
    reverse is wider than at the end.

    The random numbers are the same every time, so that the values differ only by the model, and a
    resumed run repeats them.

    Args:
        config: the resolved configuration of the run.
        dataset: all data of the run.
    """
    n_steps = max(1, config.ais_steps // 4)

    def hook(trainer: Trainer) -> dict[str, float]:
        labels = trainer.state.energy_kwargs.get("y")
        x = trainer.samples
        report = evaluate(config, dataset, trainer.model, x, labels, n_steps=n_steps)
        names = (f"cross_entropy_{way}" for way in ("bennett", "forward", "reverse"))
        return {name: getattr(report, name) for name in names}

    return hook
