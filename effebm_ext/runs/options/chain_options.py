"""The options of a run's chains: how they move, where they rest, and by what arithmetic."""

from __future__ import annotations

import dataclasses
import functools

import torch

from effebm_ext.limits import ClipNorm, ClipValue
from effebm_ext.ops.compressor import FusedCompressor
from effebm_ext.runs.options.fields import check_options, option
from effebm_ext.runs.options.parsing import (
    COMPRESSOR_FORMS,
    parse_bounds,
    parse_clip,
    parse_compressor,
)

_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
_BUFFER_DTYPES = {**_DTYPES, "uint8": torch.uint8}


@dataclasses.dataclass(frozen=True)
class ChainOptions:
    """The options of the chains of a run.

    Raises:
        TypeError: a value is of another type than its field.
        ValueError: a value is out of range, cannot be parsed or does not go with another.
    """

    chains: int = option(128, "Move this many chains in an iteration.", group="Chains", above=0)
    langevin_steps: int = option(
        None,
        "Move every chain by this many steps in an iteration. [default: 20, for contrastive "
        "training on images of at least 16 x 16 pixels 10]",
        group="Chains",
        above=0,
    )
    step_size: float = option(
        None,
        "Take Langevin steps of this size gamma. [default: 0.005; for images 0.02, of at least "
        "16 x 16 pixels 0.01]",
        group="Chains",
        above=0,
    )
    step_size_end: float | None = option(
        None,
        "Let the step size go geometrically to this value. [default: it stays]",
        group="Chains",
        above=0,
    )
    step_size_schedule: str = option(
        None,
        "Let the step size reach its end at the end of the run, or at the end of every iteration, "
        "where it begins anew. [default: run, with --verbatim iteration]",
        group="Chains",
        names=("run", "iteration"),
    )
    temperature: float = option(
        1.0, "Sample exp(-E / T), with this temperature T.", group="Chains", above=0
    )
    noise_std: float | None = option(
        None,
        "Give steps noise of this standard deviation, whatever their size. [default: the square "
        "root of step size times temperature]",
        group="Chains",
        above=0,
    )
    averaged_noise: bool = option(
        False,
        "Add the mean of the noise of a step and of the next one, which takes the bias of the step "
        "size off (not for a replay buffer or jarzynski).",
        group="Chains",
    )
    bounds: str = option(
        "none",
        "Keep every element of a chain within these limits.",
        group="Chains",
        metavar="[none|LOW:HIGH]",
    )
    init: str = option(
        "noise",
        "Start chains from Gaussian noise of the data's mean and standard deviation, from uniform "
        "noise within the bounds or else the range of the data, from data (with --conditional of "
        "their own class), or from rows of a .npy or .npz file, which is read as --data reads it "
        "(not with --conditional).",
        group="Chains",
        metavar="[noise|uniform|data|FILE]",
    )
    compressor: str = option(
        None,
        f"Compress the gradients of the chains by none, {COMPRESSOR_FORMS}. [default: "
        "block-sign:64, for jarzynski none]",
        group="Chains",
        metavar="NAME",
    )
    error_feedback: bool = option(
        None,
        "Feed what compression drops back into the next step. [default: yes, but not for "
        "jarzynski, an unbiased Random-k or with --verbatim]",
        group="Chains",
    )
    clip: str = option(
        "none",
        "Bound every entry or the norm of a chain's gradient before it is compressed.",
        group="Chains",
        metavar="[none|value:LIMIT|norm:LIMIT]",
    )
    restart_probability: float = option(
        0.0, "Start a chain anew with this probability before it is moved.", group="Chains",
        at_least=0, at_most=1,
    )  # fmt: skip
    on_divergence: str = option(
        "raise",
        "If the energy of a chain is not finite, stop the run (raise), put the chain back to its "
        "start (restart), or let it be (keep).",
        group="Chains",
        names=("raise", "restart", "keep"),
    )
    buffer_size: int = option(
        0,
        "Draw the chains of every iteration from a replay buffer that holds this many; 0 means "
        "that there is no buffer, and all chains are moved in every iteration.",
        group="Replay buffer",
        at_least=0,
    )
    buffer_dtype: str = option(
        "float32",
        "Store the chains of the replay buffer in this dtype; uint8 covers the range of the data, "
        "widened by four standard deviations of their noise.",
        group="Replay buffer",
        names=tuple(_BUFFER_DTYPES),
    )
    buffer_device: str | None = option(
        None,
        "Store the chains of the replay buffer on this device. [default: where they move]",
        group="Replay buffer",
        metavar="DEVICE",
    )
    compile: bool = option(
        False, "Make energy and gradient of the chains one graph by torch.compile.", group="Speed"
    )
    gradient_dtype: str = option(
        "float32",
        "Compute the chains' energy and gradient in this arithmetic.",
        group="Speed",
        names=tuple(_DTYPES),
    )
    shards: int = option(
        1, "Move the chains in this many groups, each on a thread of its own.", group="Speed",
        above=0,
    )  # fmt: skip
    cuda_graph: bool = option(
        False, "Make the steps of chains on a GPU by CUDA graphs, which run without Python.",
        group="Speed",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_options(self)
        if self.compressor is not None:
            _ = self.chain_compressor
        _ = self.chain_clip
        _ = self.chain_bounds
        if self.noise_std is not None and (self.temperature != 1 or self.step_size_end is not None):
            raise ValueError(
                "noise_std: expected none with a temperature or a step_size_end, since it is the "
                f"noise of steps of one size, got {self.noise_std}"
            )
        if 0 < self.buffer_size < self.chains:
            raise ValueError(
                f"buffer_size: expected 0 or at least chains, {self.chains}, got {self.buffer_size}"
            )
        if self.averaged_noise and self.buffer_size:
            raise ValueError(
                "averaged_noise: expected none with a replay buffer, whose chains cannot continue "
                "the noise of the step before"
            )
        for name in ("buffer_dtype", "buffer_device"):
            value, default = getattr(self, name), getattr(ChainOptions, name)
            if value != default and not self.buffer_size:
                raise ValueError(f"{name}: expected none without a replay buffer, got {value}")

    @functools.cached_property
    def chain_compressor(self) -> FusedCompressor | None:
        """The compressor that the option ``compressor`` names."""
        return parse_compressor(self.compressor)

    @functools.cached_property
    def chain_clip(self) -> ClipValue | ClipNorm | None:
        """The clip that the option ``clip`` names."""
        return parse_clip(self.clip)

    @functools.cached_property
    def chain_bounds(self) -> tuple[float, float] | None:
        """The limits that the option ``bounds`` names."""
        return parse_bounds(self.bounds)

    @property
    def chain_temperature(self) -> float:
        """The temperature of the chains: with ``noise_std``, that of which it is the noise."""
        if self.noise_std is None:
            return self.temperature
        return self.noise_std**2 / self.step_size

    @property
    def has_density_of_chains(self) -> bool:
        """Whether the chains are samples of a density on the whole space, and not within bounds or
        with a noise of their own."""
        return self.noise_std is None and self.chain_bounds is None

    @property
    def chain_gradient_dtype(self) -> torch.dtype | None:
        """The dtype that the option ``gradient_dtype`` names, as samplers take it."""
        return _DTYPES[self.gradient_dtype]

    @property
    def chain_buffer_dtype(self) -> torch.dtype | None:
        """The dtype that the option ``buffer_dtype`` names; None: the dtype of the chains."""
        return _BUFFER_DTYPES[self.buffer_dtype]
