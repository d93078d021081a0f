"""Signs that training fails, in the metrics of a run."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from effebm_ext.rows import Rows
from effebm_ext.runs.config import TrainConfig
from effebm_ext.training import Trainer
from effebm_ext.warn import warn

_WINDOW = 50  # iterations whose mean counts
_PATIENCE = 150  # iterations with moving chains before the first warning: they begin in noise
_SPREAD = 2.0  # the chains' standard deviation over the data's, or its inverse
_GAP = 0.1, 10.0  # nats per dimension, and nats
_PINNED = 0.5  # share of the gap at which the penalty on energies is least
_ACCEPTANCE = 0.01
_SHORT = 300  # iterations with moving chains that a run needs before anything else is to blame
_VIRIAL = 0.8, 1.25
_LONG = 500  # iterations whose mean virial counts, as it moves with the energy

Means = Mapping[str, float]


class Health:
    """Looks at the metrics of all iterations of a run for signs that it fails. Every sign is warned
    of once, with what to change, but not in the first 150 iterations with an ``energy_gap``, in
    which the chains come from the noise where they start. A ``virial`` that is not about 1 for long
    is warned of too, but is no failure: such a run learns, with a bias.

    Args:
        config: the resolved configuration of the run.
        data: the data that the run trains on, ``(n, *event)``.
    """

    def __init__(self, config: TrainConfig, data: Rows) -> None:
        self._config, self._dimensions = config, data[0].numel()
        self._data_std = math.hypot(float(data.std(correction=0)), config.data_noise)
        self._recent: deque[Means] = deque(maxlen=_WINDOW)
        self._virials: deque[float] = deque(maxlen=_LONG)
        self._moving = 0
        self._warned: set[Callable[[Means], str]] = set()
        self._signs = (self._spread, self._pinned, self._gap, self._acceptance)

    def metrics(self, trainer: Trainer) -> dict[str, float]:
        """Returns the metrics that an iteration itself does not have: ``chain_std``, the standard
        deviation of all elements of the chains."""
        if trainer.chains is None:
            return {}
        return {"chain_std": float(trainer.samples.float().std(correction=0))}

    def look(self, metrics: Means) -> None:
        """Looks at the metrics of the next iteration; warns of new signs."""
        self._recent.append(metrics)
        self._moving += "energy_gap" in metrics
        if self._moving < _PATIENCE:
            return
        if "virial" in metrics:
            self._virials.append(metrics["virial"])
        for sign, text in (*self._seen(), *self._biased()):
            if sign not in self._warned:
                self._warned.add(sign)
                warn(f"iteration {metrics['iteration']:.0f}: {text}")

    def failures(self) -> list[str]:
        """Returns the signs of the last iterations, in words; none if the run has learned."""
        return [text for _, text in self._seen()]

    def _seen(self) -> Iterator[tuple[Callable[[Means], str], str]]:
        if len(self._recent) < _WINDOW:
            return
        names = set.intersection(*(set(metrics) for metrics in self._recent))
        means = {name: sum(m[name] for m in self._recent) / _WINDOW for name in names}
        for sign in self._signs:
            text = sign(means)
            if text:
                yield sign, text

    def _biased(self) -> Iterator[tuple[Callable[[Means], str], str]]:
        if len(self._virials) == _LONG:
            text = self._virial({"virial": sum(self._virials) / _LONG})
            if text:
                yield self._virial, text

    def _virial(self, means: Means) -> str:
        seen, config = means["virial"], self._config
        low, high = _VIRIAL
        if low <= seen <= high:
            return ""
        compressor, feedback = config.chain_compressor, ""
        if compressor is not None and compressor.shrinks and not config.error_feedback:
            feedback = "--error-feedback, "
        return (
            f"the virial of the chains has been {seen:.3g} over {_LONG} iterations, and is 1 for "
            f"samples of the model: they are {'narrower' if seen < low else 'wider'} than it, and "
            f"it learns to make up for that. Try {feedback}a smaller --step-size than "
            f"{config.step_size:g}, or more --langevin-steps than {config.langevin_steps}"
        )

    def _spread(self, means: Means) -> str:
        seen, data = means.get("chain_std", self._data_std), self._data_std
        if data == 0 or 1 / _SPREAD <= seen / data <= _SPREAD:
            return ""
        where = "left the data" if seen > data else "collapsed"
        hold = "" if self._config.base == "gaussian" or seen < data else "--base gaussian, "
        return (
            f"the chains have {where}: their standard deviation is {seen:.3g}, and the data's "
            f"with their noise {data:.3g}. Try {self._cures(hold)}"
        )

    def _pinned(self, means: Means) -> str:
        weight = self._config.energy_l2
        gap = means.get("energy_gap", 0.0)
        if not weight or gap < _PINNED / weight:
            return ""
        return (
            f"energy_gap is {gap:.4g}, and the loss is least at {1 / weight:.4g} by --energy-l2 "
            f"{weight:g} alone: the energy tells chains from data and gives the chains no way "
            f"back. Try {self._cures()}"
        )

    def _gap(self, means: Means) -> str:
        if self._config.noise_std is not None:  # such chains are samples of no density
            return ""
        gap = means.get("energy_gap", 0.0) / self._config.temperature
        per_dimension, nats = _GAP
        if abs(gap) <= max(per_dimension * self._dimensions, nats):
            return ""
        side = "higher" if gap > 0 else "lower"
        return (
            f"the energy of the chains is {abs(gap):.4g} nats {side} than that of the data, "
            f"{abs(gap) / self._dimensions:.2g} per dimension, where samples of the model have "
            f"about none: the chains do not follow the energy. Try {self._cures()}"
        )

    def _acceptance(self, means: Means) -> str:
        acceptance = means.get("acceptance", 1.0)
        if acceptance >= _ACCEPTANCE:
            return ""
        return (
            f"the chains accept {acceptance:.2g} of their steps, and stand still. Try a smaller "
            f"--step-size than {self._config.step_size:g}"
        )

    def _cures(self, lead: str = "") -> str:
        config = self._config
        if config.objective == "contrastive" and not config.denoising_weight and config.data_noise:
            lead += "--denoising-weight 10 with a --warm-up, "
        if config.iterations - config.chains_rest < _SHORT:
            lead = f"more --iterations than {config.iterations}, {lead}"
        return (
            f"{lead}a smaller --learning-rate than {config.learning_rate:g}, or more "
            f"--langevin-steps than {config.langevin_steps}"
        )
