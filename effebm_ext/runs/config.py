"""The configuration of a training run."""

from __future__ import annotations

import dataclasses
import functools
import typing
from typing import TYPE_CHECKING, Any, TypeVar

from effebm_ext.runs.data.dataset import IMAGES, KINDS, POINTS, SMALL_IMAGES
from effebm_ext.runs.data.sources import absolute
from effebm_ext.runs.methods import METHODS, Method
from effebm_ext.runs.methods.starts import absolute_init
from effebm_ext.runs.options.common import CommonOptions
from effebm_ext.runs.options.fields import wrong_choice
from effebm_ext.runs.options.parsing import parse_compressor
from effebm_ext.runs.options.schedules import GeometricSteps

# EFF-EBM's Algorithm 1 fixes these options; it leaves rates and step sizes open.
_VERBATIM = {
    "objective": "contrastive",
    "base": "none",
    "conditional": False,
    "error_feedback": False,
    "clip": "none",
    "temperature": 1.0,
    "noise_std": None,
    "averaged_noise": False,
    "bounds": "none",
    "buffer_size": 0,
    "restart_probability": 0.0,
    "on_divergence": "raise",
    "optimizer": "sgd",
    "ema_decay": 0.0,
    "data_noise": 0.0,
    "energy_l2": 0.0,
    "denoising_weight": 0.0,
    "warm_up": 0,
    "max_grad_norm": 0.0,
    "gradient_dtype": "float32",
}

Config = TypeVar("Config", bound=CommonOptions)


def _with_own_options(kind: type[Config]) -> type[Config]:
    """Makes a dataclass of ``kind`` that has the options of every method too."""
    for method in METHODS.values():
        types = typing.get_type_hints(method.options)
        for field in dataclasses.fields(method.options):
            known = kind.__dict__.get(field.name, field)
            if (known.default, known.metadata) != (field.default, field.metadata):
                raise TypeError(f"{field.name}: two methods have different options of this name")
            kind.__annotations__[field.name] = types[field.name]
            setattr(kind, field.name, dataclasses.field(
                default=field.default, metadata=field.metadata
            ))  # fmt: skip
    return dataclasses.dataclass(frozen=True)(kind)


@_with_own_options
class TrainConfig(CommonOptions):
    """Everything a training run depends on; the command line's flags have the same names.

    The options are the fields of :class:`effebm_ext.runs.options.common.CommonOptions` and the
    options that only some objectives have, from their methods (:mod:`effebm_ext.runs.methods`).
    ``effebm train --help`` says what each is for. An option of another objective must keep its
    default.

    The step size of the chains goes geometrically from ``step_size`` to ``step_size_end`` (None: it
    stays) over the run or, by ``step_size_schedule``, in every iteration anew. ``verbatim`` is
    EFF-EBM's Algorithm 1 and nothing else: persistent chains with plain compression, and the
    unscaled step of SGD ``theta + eta (mean grad f(data) - mean grad f(chains))``, f = -E. So it
    has no error feedback, clip, averaged noise, bounds, buffer, restart, average, data noise,
    energy_l2 or bound on the gradient; options that contradict it are refused. The learning rate is
    constant unless a schedule is named, and the step sizes start anew in every iteration.

    Raises:
        TypeError: a value is of another type than its field; an int passes for a float, NumPy
            numbers and tensors without axes for Python's numbers.
        ValueError: a value is out of range, cannot be parsed or does not go with another.
    """

    if TYPE_CHECKING:  # the options of the methods are added when the class is made

        def __init__(self, **options: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective not in METHODS:
            raise ValueError(wrong_choice("objective", tuple(METHODS), self.objective))
        for name, owners in _owners().items():
            value, default = getattr(self, name), getattr(TrainConfig, name)
            if self.objective not in owners and value != default:
                raise ValueError(
                    f"{name}: expected none with objective {self.objective}, as it belongs to "
                    f"{', '.join(owners)}, got {value}"
                )
        if not self.method.takes_any_chains:
            self._check_plain_chains()
        self.method.check(self, self.method.own(self))
        for name, only in _VERBATIM.items() if self.verbatim else ():
            if getattr(self, name) not in (None, only):
                raise ValueError(
                    f"{name}: expected {only} with verbatim, the published algorithm, "
                    f"got {getattr(self, name)}"
                )

    def _check_plain_chains(self) -> None:
        for name in ("temperature", "noise_std", "bounds"):
            value, default = getattr(self, name), getattr(TrainConfig, name)
            if value != default:
                raise ValueError(
                    f"{name}: expected {default} with objective {self.objective}, whose chains "
                    f"must be samples of exp(-E), got {value}"
                )

    def __getstate__(self) -> dict[str, Any]:
        return dataclasses.asdict(self)  # without what is found from the options, functions too

    @functools.cached_property
    def method(self) -> Method:
        """The method of the objective."""
        return METHODS[self.objective]

    def resolved(self, kind: str) -> TrainConfig:
        """Returns the configuration with a value for every option that a run chooses, and with
        absolute paths of the data and of a file of starts, so that the run can be used from every
        folder.

        Data of about unit scale get data noise of 0.3 if they are images, as the noise can be taken
        off images again, and 0 otherwise. The step size is 0.005 for points, 0.02 for small images
        and 0.01 for images. Chains are compressed by Block-Sign of 64. Compressors have error
        feedback, but for the unbiased Random-k. The rate of Adam falls by a cosine, and its
        gradient is bounded by a norm of 1. Methods choose their own options, and may choose others
        differently. Toys and held-out rows come from the run's own seed.

        Args:
            kind: the kind of the data, :attr:`effebm_ext.runs.data.dataset.Dataset.kind`.

        Raises:
            ValueError: there is no such kind.
        """
        if kind not in KINDS:
            raise ValueError(f"kind: expected {', '.join(KINDS)}, got {kind!r}")
        chosen: dict[str, Any] = {
            "iterations": 3000,
            "batch_size": 128,
            "data_seed": self.seed,
            "langevin_steps": 20,
            "step_size_schedule": "iteration" if self.verbatim else "run",
            "step_size": {POINTS: 0.005, SMALL_IMAGES: 0.02, IMAGES: 0.01}[kind],
            "data_noise": 0.0 if kind == POINTS else 0.3,
            "energy": "auto",
            "learning_rate": 1e-3,
            "base": "none",
            "compressor": "block-sign:64",
            "error_feedback": self.compressor is None or _may_be_fed_back(self.compressor),
            "optimizer": "adam",
            "learning_rate_schedule": "constant" if self.verbatim else "cosine",
            "max_grad_norm": 1.0,
        }
        for field in dataclasses.fields(self.method.options):
            chosen[field.name] = field.metadata["resolved"]
        chosen |= self.method.defaults(self, kind)
        if self.verbatim:
            chosen |= _VERBATIM
        missing = {name: value for name, value in chosen.items() if getattr(self, name) is None}
        paths = {"data": absolute(self.data), "init": absolute_init(self.init)}
        missing |= {name: path for name, path in paths.items() if path != getattr(self, name)}
        return dataclasses.replace(self, **missing) if missing else self

    def step_sizes(self, ahead: int = 0) -> float | GeometricSteps:
        """Returns the chains' step size for a sampler: a number, or a function of the step, to
        whose number ``ahead`` is added."""
        first, last = self.step_size, self.step_size_end
        if last is None:
            return first
        if self.step_size_schedule == "iteration":
            n = self.langevin_steps
            return GeometricSteps(first, last, max(n - 1, 1), n, ahead)
        n = self.steps_of_chains(self.iterations)
        return GeometricSteps(first, last, max(n, 1), ahead=ahead)

    def step_size_after(self, iterations: int, *, back: int = 0) -> float:
        """Returns the step size that training has reached after so many iterations: the size of the
        next step, or of one ``back`` steps before it; if sizes begin anew in every iteration, of
        the last step of an iteration."""
        sizes = self.step_sizes()
        if not callable(sizes):
            return sizes
        return sizes(sizes.period - 1 if sizes.period else self.steps_of_chains(iterations) - back)

    def steps_of_chains(self, iterations: int) -> int:
        """Returns how many steps the chains make in the first ``iterations`` of a run."""
        moves = max(0, iterations - self.chains_rest) // self.chains_move_every
        return moves * self.langevin_steps

    @property
    def chains_never_move(self) -> bool:
        """Whether the run ends before its chains move for the first time."""
        return self.steps_of_chains(self.iterations) == 0

    @property
    def chains_rest(self) -> int:
        """Iterations at the beginning in which the chains rest."""
        return self.warm_up or 0

    @property
    def chains_move_every(self) -> int:
        """Iterations between two moves of the chains."""
        return min(self.checkpoint_every, self.iterations) if self.method.moves_rarely else 1


def _may_be_fed_back(compressor: str) -> bool:
    parsed = parse_compressor(compressor)
    return parsed is None or parsed.shrinks


def _owners() -> dict[str, list[str]]:
    """Maps each option of the methods to the objectives that have it."""
    owners: dict[str, list[str]] = {}
    for method in METHODS.values():
        for field in dataclasses.fields(method.options):
            owners.setdefault(field.name, []).append(method.name)
    return owners


def choices(name: str) -> tuple[str, ...]:
    """Returns the strings that an option takes; none if it takes others too."""
    names: tuple[str, ...] = TrainConfig.__dataclass_fields__[name].metadata["names"]
    return tuple(METHODS) if name == "objective" else names


def option_group(name: str) -> str:
    """Returns the heading under which the command line's help shows an option."""
    group: str = TrainConfig.__dataclass_fields__[name].metadata["group"]
    return group or f"Only with objective {', '.join(_owners()[name])}"
