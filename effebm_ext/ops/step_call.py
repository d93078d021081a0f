"""The arguments of a Langevin step besides its tensors: checked, named, in the order of the ops."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from effebm_ext import _C
from effebm_ext.limits import Bounds, Clamp, Clip, ClipNorm, ClipValue, Reflect, as_bounds
from effebm_ext.ops.checks import check_moves_all, element_scalar
from effebm_ext.ops.compressor import (
    NO_COMPRESSOR,
    NO_KEY,
    Compressor,
    CompressorArguments,
    FusedCompressor,
    KeyArguments,
    is_black_box,
    mover_of,
    no_compressor,
)
from effebm_ext.rng import Key, Rng, key_arguments

_UNBOUNDED: tuple[object, ...] = (_C.BOUNDS_NONE, 0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class StepCall:
    """The arguments of a Langevin step after its tensors. A compressor that is a black box is none
    of them, and neither is its clip: the kernels make the step along what it gives.

    Attributes:
        key: int64 ``(2,)`` on the device of the state, with offset and first_chain: the noise.
        step_size: a number and None; or 0 and a tensor ``()``, ``(n_chains,)``, ``(1, *event)`` or
            ``(n_chains, *event)`` in the compute dtype.
        noise_std: likewise; None and None stand for sqrt(step_size).
        compressor: None, or one that the kernels know, and
        compressor_arguments: the code, the size and the block offsets by which they know it.
        clip: of the gradient.
        bounds: of the new state.
        stochastic_rounding: of the new state, which has 16 bits; else it is rounded to nearest.
        averaged_noise: the noise is the mean of the noise of this step and of the next one.
    """

    key: KeyArguments
    step_size: tuple[float, Tensor | None]
    noise_std: tuple[float | None, Tensor | None] = (None, None)
    compressor: FusedCompressor | None = None
    compressor_arguments: CompressorArguments = NO_COMPRESSOR
    clip: Clip | None = None
    bounds: Clamp | Reflect | None = None
    stochastic_rounding: bool = False
    averaged_noise: bool = False

    @classmethod
    def of(
        cls,
        x: Tensor,
        step_size: float | Tensor,
        compressor: Compressor | None = None,
        noise_std: float | Tensor | None = None,
        clip: Clip | None = None,
        bounds: Bounds | None = None,
        rng: Rng = None,
        stochastic_rounding: bool = False,
        averaged_noise: bool = False,
    ) -> StepCall:
        """The call for the state ``x``. The arguments are those of
        :func:`effebm_ext.langevin_step_`, which says what is raised. A generator draws its key
        after everything else is checked."""
        call = object.__new__(cls)
        own = call.__dict__  # a frozen dataclass takes three times as long to set its fields
        own["step_size"] = element_scalar(step_size, x, "step_size")
        noiseless = False
        if noise_std is not None:
            noise, noises = own["noise_std"] = element_scalar(noise_std, x, "noise_std")
            noiseless = noise == 0 and noises is None
        if compressor is not None:
            if isinstance(compressor, FusedCompressor):
                own["compressor"] = compressor
                own["compressor_arguments"] = compressor.kernel_arguments(x)
                noiseless = noiseless and not compressor.is_random
            elif not is_black_box(compressor):
                raise no_compressor(compressor)
        if clip is not None:
            check_clip(clip)
            if not is_black_box(compressor):
                own["clip"] = clip
        if bounds is not None:
            own["bounds"] = as_bounds(bounds)
        if stochastic_rounding:
            if x.element_size() != 2:
                raise ValueError(
                    "stochastic_rounding: expected a state of bfloat16 or float16, as longer ones "
                    f"are stored as they are computed, got {x.dtype}"
                )
            own["stochastic_rounding"], noiseless = True, False
        if averaged_noise:
            if not isinstance(rng, Key):
                raise TypeError(
                    "rng: expected a Key with averaged_noise, as consecutive steps share noise, "
                    f"got {type(rng).__name__}"
                )
            check_averaged_noise(compressor)
            own["averaged_noise"] = True
        own["key"] = key_arguments(rng, x, noiseless)
        return call

    def arguments(self) -> tuple[object, ...]:
        """The arguments of the ops, in the order of their schemas, without trailing defaults: every
        argument of an op takes its time."""
        compressor, clip, bounds = self.compressor, self.clip, self.bounds
        if bounds is not None or self.stochastic_rounding or self.averaged_noise:
            code, limit = (_C.CLIP_NONE, 0.0) if clip is None else (clip.code, clip.limit)
            drift = *self.compressor_arguments, code, limit
            stored = _UNBOUNDED if bounds is None else (bounds.code, bounds.lower, bounds.upper)
            if self.averaged_noise:
                stored = *stored, self.stochastic_rounding, True
            elif self.stochastic_rounding:
                stored = *stored, True
            return *self.key, *self.step_size, *self.noise_std, *drift, *stored
        if clip is not None:
            drift = *self.compressor_arguments, clip.code, clip.limit
            return *self.key, *self.step_size, *self.noise_std, *drift
        if compressor is not None:
            return *self.key, *self.step_size, *self.noise_std, *self.compressor_arguments
        noise, noises = self.noise_std
        if noise is None:
            return *self.key, *self.step_size
        return *self.key, *self.step_size, noise, noises

    def without_bounds(self) -> StepCall:
        return dataclasses.replace(self, bounds=None)

    def before_storing(self) -> StepCall:
        """The same call without what is done to a 16-bit state as it is stored."""
        return dataclasses.replace(self, bounds=None, stochastic_rounding=False)

    def step_size_for(self, x: Tensor) -> float | Tensor:
        """The step size: a number, or a tensor against the axes of ``x``."""
        number, values = self.step_size
        if values is None:
            return number
        return values.reshape(-1, *[1] * (x.dim() - 1)) if values.dim() == 1 else values

    def where_moved(self, x: Tensor, new: Tensor, old: Tensor) -> Tensor:
        """Returns ``new`` where the step moves elements of ``x``, and elsewhere ``old``."""
        mover = mover_of(self.compressor)
        return new if mover is None else torch.where(mover.kept(x, self.key), new, old)

    def tensors(self) -> tuple[Tensor | None, ...]:
        """The tensors of the call, in the order of :meth:`with_tensors`."""
        (key, _, _), (_, steps), (_, noises) = self.key, self.step_size, self.noise_std
        *_, offsets = self.compressor_arguments
        return key, steps, noises, offsets

    def with_tensors(self, key: Any, steps: Any, noises: Any, offsets: Any) -> StepCall:
        """The same call of other tensors, or of None where autograd keeps them by themselves."""
        (_, offset, first_chain), (*compressor, _) = self.key, self.compressor_arguments
        (step, _), (noise, _) = self.step_size, self.noise_std
        return dataclasses.replace(
            self,
            key=(key, offset, first_chain),
            step_size=(step, steps),
            noise_std=(noise, noises),
            compressor_arguments=(*compressor, offsets),
        )


def drift_arguments(
    grad: Tensor, compressor: Compressor | None, clip: Clip | None, rng: Rng = None
) -> tuple[object, ...]:
    """The arguments by which the op ``drift`` makes ``C(clip(grad))``, in the order of its schema,
    without trailing defaults. A generator draws a key only where the compressor is random.

    Raises:
        TypeError: compressor or clip is of another type.
        ValueError: the compressor does not fit the rows of ``grad``.
    """
    compressed: CompressorArguments | tuple[()] = ()
    key = NO_KEY
    if compressor is not None:
        if not isinstance(compressor, FusedCompressor):
            raise no_compressor(compressor)
        compressed = compressor.kernel_arguments(grad)
        if compressor.is_random:
            key = key_arguments(rng, grad)
    if clip is not None:
        check_clip(clip)
    elif key is NO_KEY:
        return compressed
    code, limit = (_C.CLIP_NONE, 0.0) if clip is None else (clip.code, clip.limit)
    clipped = *(compressed or NO_COMPRESSOR), code, limit
    return clipped if key is NO_KEY else (*clipped, *key)


def check_averaged_noise(compressor: Compressor | None) -> None:
    """Refuses averaged noise for a compressor that moves other entries at every step."""
    check_moves_all(compressor, "averaged_noise", "consecutive steps share noise")


def check_clip(clip: Clip) -> None:
    if not isinstance(clip, (ClipValue, ClipNorm)):
        raise TypeError(f"clip: expected ClipValue, ClipNorm or None, got {type(clip).__name__}")
