"""What a training run depends on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from effebm_ext.compressors import parse_compressor
from effebm_ext.limits import parse_clip

# The share of the learning rate that is left when `done` of all iterations are.
_SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything a training run depends on; the command line's flags have the same names.

    ``step_size`` and ``data_noise`` of None are chosen by :meth:`resolved`; ``error_feedback``
    means nothing without a compressor. ``clip`` bounds the chains' gradients before they are
    compressed. The step size of the chains goes geometrically from ``step_size`` to
    ``step_size_end`` (None: stays) over the run, the learning rate by ``learning_rate_schedule``:
    cosine (to zero), linear (to zero) or constant. ``ema_decay`` > 0 keeps an exponential moving
    average of the parameters, from which samples are drawn later.
    With a ``buffer_size`` > 0, ``chains`` of a replay buffer are moved at a time; before, each
    begins anew with ``restart_probability``. ``conditional`` learns an energy E(x, y) of data and
    their labels; every chain has a label drawn from those of the data. The share ``holdout`` of the
    data is kept for evaluation: by ``ais_steps`` temperatures at the end (0: none), by a quarter of
    them every ``evaluate_every`` iterations (0: never).

    Raises:
        ValueError: a value is out of range or cannot be parsed.
    """

    data: str = "digits"
    holdout: float = 0.1
    energy: str = "auto"
    conditional: bool = False
    compressor: str = "block-sign:64"
    error_feedback: bool = True
    clip: str = "none"
    chains: int = 128
    buffer_size: int = 0
    restart_probability: float = 0.0
    langevin_steps: int = 20
    step_size: float | None = None
    step_size_end: float | None = None
    iterations: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    learning_rate_schedule: str = "cosine"
    ema_decay: float = 0.0
    data_noise: float | None = None
    energy_l2: float = 0.001
    max_grad_norm: float = 1.0
    checkpoint_every: int = 100
    ais_steps: int = 1000
    evaluate_every: int = 0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.generic):  # as Python's numbers, which JSON can hold
                object.__setattr__(self, field.name, value.item())
        positive = ("chains", "langevin_steps", "iterations", "batch_size", "checkpoint_every",
                    "step_size", "step_size_end", "learning_rate", "max_grad_norm")  # fmt: skip
        others = ("data_noise", "energy_l2", "ema_decay", "buffer_size", "restart_probability",
                  "holdout", "ais_steps", "evaluate_every")  # fmt: skip
        for name in (*positive, *others):
            value = getattr(self, name)
            if value is None and name in ("step_size", "step_size_end", "data_noise"):
                continue
            low = "> 0" if name in positive else ">= 0"
            if not math.isfinite(value) or value < 0 or (name in positive and value == 0):
                raise ValueError(f"{name}: expected a finite number {low}, got {value}")
        parse_compressor(self.compressor)
        parse_clip(self.clip)
        if self.restart_probability > 1:
            raise ValueError(
                f"restart_probability: expected 0 to 1, got {self.restart_probability}"
            )
        if 0 < self.buffer_size < self.chains:
            raise ValueError(
                f"buffer_size: expected 0 or at least chains, {self.chains}, got {self.buffer_size}"
            )
        if self.holdout >= 1:
            raise ValueError(f"holdout: expected 0 <= holdout < 1, got {self.holdout}")
        if self.evaluate_every and not self.ais_steps:
            raise ValueError(
                f"ais_steps: expected > 0 to evaluate every {self.evaluate_every} iterations, got 0"
            )
        if self.ema_decay >= 1:
            raise ValueError(f"ema_decay: expected 0 <= ema_decay < 1, got {self.ema_decay}")
        if self.learning_rate_schedule not in _SCHEDULES:
            names = ", ".join(_SCHEDULES)
            raise ValueError(
                f"learning_rate_schedule: expected {names}, got {self.learning_rate_schedule!r}"
            )
        if not -(2**63) <= self.seed < 2**64:
            raise ValueError(f"seed: expected a 64-bit integer, got {self.seed}")

    def resolved(self, *, is_image: bool) -> TrainConfig:
        """With a step size and data noise that suit data of about unit scale: 0.02 and 0.3 for
        images, whose noise can be taken off again, 0.005 and 0 for others."""
        step_size, data_noise = (0.02, 0.3) if is_image else (0.005, 0.0)
        return dataclasses.replace(
            self,
            step_size=step_size if self.step_size is None else self.step_size,
            data_noise=data_noise if self.data_noise is None else self.data_noise,
        )

    def step_sizes(self) -> float | Callable[[int], float]:
        """Of the chains, for a sampler: a number, or a function of the step."""
        first, last = self.step_size, self.step_size_end
        assert first is not None
        if last is None:
            return first
        steps = self.iterations * self.langevin_steps
        return lambda step: first * (last / first) ** min(step / steps, 1.0)

    def learning_rate_share(self, iteration: int) -> float:
        """What is left of the learning rate after so many iterations."""
        return _SCHEDULES[self.learning_rate_schedule](iteration / self.iterations)
