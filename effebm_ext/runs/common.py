"""The options that every training run has, whatever its objective."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import torch

from effebm_ext.limits import ClipNorm, ClipValue
from effebm_ext.ops.compressor import FusedCompressor
from effebm_ext.runs.data import TOYS
from effebm_ext.runs.fields import check_options, option
from effebm_ext.runs.options import COMPRESSOR_FORMS, parse_clip, parse_compressor

# Each schedule gives the remaining share of the learning rate when a share `done` of all iterations
# is done.
_SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}
_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
_BUFFER_DTYPES = {
    "float32": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "uint8": torch.uint8,
}


@dataclasses.dataclass(frozen=True)
class CommonOptions:
    """The options of a run, without the options that only its objective has.

    A run chooses values for options that are None
    (:meth:`effebm_ext.runs.config.TrainConfig.resolved`).

    Raises:
        TypeError: a value is of another type than its field; an int passes for a float, NumPy
            numbers and tensors without axes for Python's numbers.
        ValueError: a value is out of range or cannot be parsed.
    """

    data: str = option(
        "digits",
        f"digits, {', '.join(TOYS)}, a .npy or .npz file of shape (n, *event), of about "
        "unit standard deviation, or mnist:, fashion-mnist:, cifar10: or images:FOLDER",
    )
    holdout: float = option(
        0.1, "share of the data kept from training, to evaluate on", at_least=0, below=1
    )
    objective: str = option("contrastive", "method of training")
    energy: str = option("auto", "network: auto, mlp, conv or resnet")
    base: str | None = option(
        None,
        "gaussian: add the energy of a Gaussian, of the mean and the standard deviation of the "
        "noisy data, to the energy of the network, so that chains cannot leave the data; or none "
        "[default: none, of weighted walkers gaussian]",
        names=("gaussian", "none"),
    )
    conditional: bool = option(False, "learn an energy of data and labels, to sample by class")
    compressor: str | None = option(
        None,
        f"compressor of the chains' gradients: none, {COMPRESSOR_FORMS} "
        "[default: block-sign:64, of weighted walkers none]",
    )
    error_feedback: bool | None = option(
        None,
        "feed what compression drops back into the next step "
        "[default: yes, but not for weighted walkers, an unbiased Random-k or with --verbatim]",
    )
    clip: str = option(
        "none",
        "clip of the chains' gradients before compression: none, value:LIMIT or norm:LIMIT",
    )
    chains: int = option(
        128, "persistent chains, or chains drawn from the replay buffer at a time", above=0
    )
    buffer_size: int = option(
        0, "chains in the replay buffer; 0: no buffer, all chains persist and are moved", at_least=0
    )
    buffer_dtype: str = option(
        "float32",
        "dtype in which the chains of the replay buffer rest: float32, bfloat16, float16 or uint8; "
        "uint8 holds the range of the data, widened by four standard deviations of their noise",
        names=tuple(_BUFFER_DTYPES),
    )
    buffer_device: str | None = option(
        None, "where the chains of the replay buffer rest [default: where they move]"
    )
    restart_probability: float = option(
        0.0, "probability that a chain begins anew before it is moved", at_least=0, at_most=1
    )
    langevin_steps: int = option(20, "steps of every chain per iteration", above=0)
    step_size: float | None = option(
        None, "gamma of the Langevin step [default: 0.02 for images, else 0.005]", above=0
    )
    step_size_end: float | None = option(
        None, "gamma at the end of the run, reached geometrically [default: it stays]", above=0
    )
    on_divergence: str = option(
        "raise",
        "what becomes of chains whose energy is not finite: raise (the run stops), "
        "restart (at their start) or keep",
        names=("raise", "restart", "keep"),
    )
    compile: bool = option(
        False, "make energy and gradient of the chains one graph by torch.compile"
    )
    cuda_graph: bool = option(
        False, "make the steps of chains on a GPU by CUDA graphs, which run without Python"
    )
    gradient_dtype: str = option(
        "float32",
        "arithmetic of the chains' energy and gradient: float32, bfloat16 or float16",
        names=tuple(_DTYPES),
    )
    shards: int = option(
        1, "groups of chains that move at the same time, each on a thread of its own", above=0
    )
    iterations: int = option(3000, "parameter updates", above=0)
    batch_size: int = option(128, "data per iteration", above=0)
    learning_rate: float = option(1e-3, "learning rate of the parameters", above=0)
    learning_rate_schedule: str | None = option(
        None,
        "cosine, linear (both to zero) or constant [default: cosine, with --verbatim constant]",
        names=tuple(_SCHEDULES),
    )
    optimizer: str | None = option(
        None, "adam or sgd [default: adam, with --verbatim sgd]", names=("adam", "sgd")
    )
    ema_decay: float = option(
        0.0,
        "decay of a moving average of the parameters, from which to sample later; 0: none",
        at_least=0,
        below=1,
    )
    data_noise: float | None = option(
        None,
        "standard deviation of noise added to the data [default: 0.3 for images, else "
        "and with --verbatim 0]",
        at_least=0,
    )
    max_grad_norm: float | None = option(
        None,
        "larger parameter gradients are scaled down to this norm; 0: never "
        "[default: 1, with --verbatim 0]",
        at_least=0,
    )
    verbatim: bool = option(
        False,
        "the published algorithm (EFF-EBM, Algorithm 1) and nothing else: plain "
        "compression, gradient ascent, no noise on the data, no regulariser, no bound on the "
        "gradient",
    )
    checkpoint_every: int = option(100, "iterations between checkpoints", above=0)
    ais_steps: int = option(1000, "temperatures of the evaluation at the end; 0: none", at_least=0)
    evaluate_every: int = option(
        0,
        "iterations between shorter evaluations, which join the metrics; 0: none",
        at_least=0,
    )
    seed: int = option(0, "seed of everything random")
    device: str = option("cpu", "where the chains and the energy live")

    def __post_init__(self) -> None:
        check_options(self)
        if self.compressor is not None:
            _ = self.chain_compressor
        _ = self.chain_clip
        if 0 < self.buffer_size < self.chains:
            raise ValueError(
                f"buffer_size: expected 0 or at least chains, {self.chains}, got {self.buffer_size}"
            )
        for name in ("buffer_dtype", "buffer_device"):
            value, default = getattr(self, name), getattr(CommonOptions, name)
            if value != default and not self.buffer_size:
                raise ValueError(f"{name}: expected none without a replay buffer, got {value}")
        if self.evaluate_every and not self.ais_steps:
            raise ValueError(
                f"ais_steps: expected > 0 to evaluate every {self.evaluate_every} iterations, got 0"
            )
        if not -(2**63) <= self.seed < 2**64:
            raise ValueError(f"seed: expected a 64-bit integer, got {self.seed}")

    @functools.cached_property
    def chain_compressor(self) -> FusedCompressor | None:
        """The compressor that the option ``compressor`` names."""
        assert self.compressor is not None  # the configuration is resolved
        return parse_compressor(self.compressor)

    @functools.cached_property
    def chain_clip(self) -> ClipValue | ClipNorm | None:
        """The clip that the option ``clip`` names."""
        return parse_clip(self.clip)

    @property
    def chain_gradient_dtype(self) -> torch.dtype | None:
        """The dtype that the option ``gradient_dtype`` names, as samplers take it."""
        return _DTYPES[self.gradient_dtype]

    @property
    def chain_buffer_dtype(self) -> torch.dtype | None:
        """The dtype that the option ``buffer_dtype`` names; None: the dtype of the chains."""
        return _BUFFER_DTYPES[self.buffer_dtype]

    def learning_rate_share(self, iteration: int) -> float:
        """Returns the remaining share of the learning rate after ``iteration`` iterations."""
        assert self.learning_rate_schedule is not None  # the configuration is resolved
        return _SCHEDULES[self.learning_rate_schedule](iteration / self.iterations)
