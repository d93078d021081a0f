"""What a training run depends on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from effebm_ext.compressors import parse_compressor
from effebm_ext.field_types import as_declared, declared_types
from effebm_ext.limits import parse_clip

# The share of the learning rate that is left when `done` of all iterations are.
_SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}

SCORE_MATCHING = ("sm", "ssm", "ssm-vr", "dsm", "fd-ssm", "fd-ssm-vr", "fd-dsm")
DENOISING = ("dsm", "fd-dsm")  # they add the noise to the data themselves
OBJECTIVES = ("contrastive", "jarzynski", "particle", *SCORE_MATCHING)

# What only some objectives have; elsewhere it must stay as it is by default.
_OWNERS = {
    "fd_epsilon": ("fd-ssm", "fd-ssm-vr", "fd-dsm"),
    "noise_end": DENOISING,
    "adjusted": ("jarzynski",),
    "moved_chains": ("jarzynski",),
    "resampling": ("jarzynski",),
    "resample_threshold": ("jarzynski",),
    "particle_move": ("particle",),
    "step_correction": ("particle",),
    "energy_l2": ("contrastive", "jarzynski", "particle"),
}

# EFF-EBM's Algorithm 1 has nothing but this; the rates and step sizes it leaves open.
_VERBATIM = {
    "objective": "contrastive",
    "conditional": False,
    "error_feedback": False,
    "clip": "none",
    "buffer_size": 0,
    "restart_probability": 0.0,
    "on_divergence": "raise",
    "optimizer": "sgd",
    "ema_decay": 0.0,
    "data_noise": 0.0,
    "energy_l2": 0.0,
    "max_grad_norm": 0.0,
}

_NAMES = {
    "objective": OBJECTIVES,
    "optimizer": ("adam", "sgd"),
    "learning_rate_schedule": tuple(_SCHEDULES),
    "resampling": ("systematic", "stratified", "multinomial"),
    "particle_move": ("alpha", "beta"),
    "on_divergence": ("raise", "restart", "keep"),
}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything a training run depends on; the command line's flags have the same names.

    What is None is chosen by :meth:`resolved`; ``error_feedback`` means nothing without a
    compressor. ``clip`` bounds the chains' gradients before they are
    compressed. The step size of the chains goes geometrically from ``step_size`` to
    ``step_size_end`` (None: stays) over the run, the learning rate by ``learning_rate_schedule``:
    cosine (to zero), linear (to zero) or constant. ``ema_decay`` > 0 keeps an exponential moving
    average of the parameters, from which samples are drawn later. ``on_divergence`` says what
    becomes of chains whose energy or state is not finite: raise stops the run, restart puts them
    back to their start, keep leaves them for the loss to meet. ``optimizer`` is adam or
    sgd; parameter gradients of a norm beyond ``max_grad_norm`` are scaled down to it (0: never).
    With a ``buffer_size`` > 0, ``chains`` of a replay buffer are moved at a time; before, each
    begins anew with ``restart_probability``. ``conditional`` learns an energy E(x, y) of data and
    their labels; every chain has a label drawn from those of the data. The share ``holdout`` of the
    data is kept for evaluation: by ``ais_steps`` temperatures at the end (0: none), by a quarter of
    them every ``evaluate_every`` iterations (0: never).

    ``objective`` names the method (:mod:`effebm_ext.objectives`). Of jarzynski: ``adjusted`` moves
    by Metropolis-adjusted steps, ``moved_chains`` of the walkers are moved at a time (0: all), and
    all are resampled (``resampling``: systematic, stratified or multinomial) where their effective
    sample size falls below ``resample_threshold`` times their number. Of particle:
    ``particle_move`` is alpha or beta, ``step_correction`` scales it. Of score matching:
    ``fd_epsilon`` is the size of finite differences; denoising takes ``data_noise`` as its noise,
    or, with a ``noise_end`` > 0, scales from there to that. Their chains move once every
    ``checkpoint_every`` iterations only. The others have ``energy_l2``. What an objective has not
    is refused.

    ``verbatim`` is EFF-EBM's Algorithm 1 and nothing else: persistent chains with plain compression
    and the unscaled step ``theta + eta (mean grad f(data) - mean grad f(chains))``, f = -E, of sgd.
    So no error feedback, clip, buffer, restart, average, data noise, energy_l2 or bound on the
    gradient; whatever says otherwise is refused. The learning rate is constant unless a schedule is
    named, and the step sizes up to ``step_size_end`` begin anew in every iteration.

    Raises:
        TypeError: a value is of another type than its field; an int passes for a float, NumPy
            numbers and tensors without axes for Python's numbers.
        ValueError: a value is out of range or cannot be parsed.
    """

    data: str = "digits"
    holdout: float = 0.1
    objective: str = "contrastive"
    energy: str = "auto"
    conditional: bool = False
    compressor: str | None = None
    error_feedback: bool | None = None
    clip: str = "none"
    chains: int = 128
    buffer_size: int = 0
    restart_probability: float = 0.0
    langevin_steps: int = 20
    step_size: float | None = None
    step_size_end: float | None = None
    on_divergence: str = "raise"
    iterations: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    learning_rate_schedule: str | None = None
    optimizer: str | None = None
    ema_decay: float = 0.0
    data_noise: float | None = None
    noise_end: float = 0.0
    fd_epsilon: float | None = None
    adjusted: bool = False
    moved_chains: int = 0
    resampling: str = "systematic"
    resample_threshold: float = 0.5
    particle_move: str = "alpha"
    step_correction: bool = False
    energy_l2: float | None = None
    max_grad_norm: float | None = None
    verbatim: bool = False
    checkpoint_every: int = 100
    ais_steps: int = 1000
    evaluate_every: int = 0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, declared in declared_types(TrainConfig).items():  # JSON holds Python's types only
            object.__setattr__(self, name, as_declared(getattr(self, name), declared, name))
        positive = ("chains", "langevin_steps", "iterations", "batch_size", "checkpoint_every",
                    "step_size", "step_size_end", "learning_rate", "fd_epsilon")  # fmt: skip
        others = ("data_noise", "energy_l2", "ema_decay", "buffer_size", "restart_probability",
                  "holdout", "ais_steps", "evaluate_every", "noise_end", "moved_chains",
                  "resample_threshold", "max_grad_norm")  # fmt: skip
        for name in (*positive, *others):
            value = getattr(self, name)
            if value is None:
                continue
            low = "> 0" if name in positive else ">= 0"
            if not math.isfinite(value) or value < 0 or (name in positive and value == 0):
                raise ValueError(f"{name}: expected a finite number {low}, got {value}")
        if self.compressor is not None:
            parse_compressor(self.compressor)
        parse_clip(self.clip)
        for name, names in _NAMES.items():
            if getattr(self, name) not in (*names, getattr(TrainConfig, name)):
                raise ValueError(
                    f"{name}: expected {', '.join(names)}, got {getattr(self, name)!r}"
                )
        self._check_objective()
        for name, only in _VERBATIM.items() if self.verbatim else ():
            if getattr(self, name) not in (None, only):
                raise ValueError(
                    f"{name}: expected {only} with verbatim, the published algorithm, "
                    f"got {getattr(self, name)}"
                )
        for name in ("restart_probability", "resample_threshold"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name}: expected 0 to 1, got {getattr(self, name)}")
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
        if not -(2**63) <= self.seed < 2**64:
            raise ValueError(f"seed: expected a 64-bit integer, got {self.seed}")

    def _check_objective(self) -> None:
        for name, owners in _OWNERS.items():
            value, default = getattr(self, name), getattr(TrainConfig, name)
            if self.objective not in owners and value != default:
                raise ValueError(
                    f"{name}: expected none with objective {self.objective}, as it belongs to "
                    f"{', '.join(owners)}, got {value}"
                )
        if self.objective in DENOISING and self.data_noise == 0:
            raise ValueError(
                f"data_noise: expected > 0 with objective {self.objective}, which takes it off "
                "again, got 0"
            )
        if self.objective == "particle" and self.buffer_size:
            raise ValueError(
                "buffer_size: not with objective particle, all of whose particles move with every "
                f"change of the energy, got {self.buffer_size}"
            )
        if self.objective != "jarzynski":
            return
        if self.error_feedback and self.compressor not in (None, "none"):
            raise ValueError(
                "error_feedback: expected none with objective jarzynski, whose weights need a "
                "drift that depends on the walker alone and not on its past"
            )
        for name in ("conditional", "buffer_size", "restart_probability"):
            if getattr(self, name):
                raise ValueError(
                    f"{name}: not with objective jarzynski, whose walkers are weighted samples of "
                    f"one density all along, got {getattr(self, name)}"
                )
        if self.energy == "resnet":
            raise ValueError(
                "energy: not resnet with objective jarzynski: its quadratic head may fall faster "
                "than the Gaussian rises, and log Z be infinite"
            )
        if self.moved_chains > self.chains:
            raise ValueError(
                f"moved_chains: expected 0 to chains, {self.chains}, got {self.moved_chains}"
            )

    def resolved(self, *, is_image: bool) -> TrainConfig:
        """With a step size and data noise that suit data of about unit scale: 0.02 and 0.3 for
        images, whose noise can be taken off again, 0.005 and 0 (0.1 to be denoised) for others.
        Chains are compressed by Block-Sign of 64 with error feedback, weighted walkers not.
        ``energy_l2`` is 0.001 and ``fd_epsilon`` 0.1 where the objective has them; ``energy_l2`` of
        weighted walkers is 0, so that they follow the gradient of the cross-entropy. Adam's rate
        falls by a cosine and its gradient is bounded by a norm of 1."""
        denoising = self.objective in DENOISING
        weighted = self.objective == "jarzynski"
        defaults: dict[str, Any] = {
            "step_size": 0.02 if is_image else 0.005,
            "data_noise": 0.3 if is_image else 0.1 if denoising else 0.0,
            "compressor": "none" if weighted else "block-sign:64",
            "error_feedback": not weighted,
            "fd_epsilon": 0.1,
            "energy_l2": 0.0 if weighted else 0.001,
            "optimizer": "adam",
            "learning_rate_schedule": "constant" if self.verbatim else "cosine",
            "max_grad_norm": 1.0,
        }
        if self.verbatim:
            defaults |= _VERBATIM
        missing = {
            name: value
            for name, value in defaults.items()
            if getattr(self, name) is None and self.objective in _OWNERS.get(name, OBJECTIVES)
        }
        return dataclasses.replace(self, **missing)

    @property
    def gaussian_base(self) -> bool:
        """Whether the energy has a :class:`effebm_ext.networks.GaussianBase`: weights estimate log
        Z, which must be finite."""
        return self.objective == "jarzynski"

    def step_sizes(self) -> float | Callable[[int], float]:
        """Of the chains, for a sampler: a number, or a function of the step."""
        first, last = self.step_size, self.step_size_end
        assert first is not None
        if last is None:
            return first
        if self.verbatim:
            n = self.langevin_steps
            return lambda step: first * (last / first) ** (step % n / max(n - 1, 1))
        steps = self.iterations // self.chains_move_every * self.langevin_steps
        return lambda step: first * (last / first) ** min(step / steps, 1.0)

    @property
    def chains_move_every(self) -> int:
        """Iterations: score matching has samples drawn for checkpoints and pictures alone."""
        if self.objective in SCORE_MATCHING:
            return min(self.checkpoint_every, self.iterations)
        return 1

    def learning_rate_share(self, iteration: int) -> float:
        """What is left of the learning rate after so many iterations."""
        assert self.learning_rate_schedule is not None  # of a resolved configuration
        return _SCHEDULES[self.learning_rate_schedule](iteration / self.iterations)
