"""What a Langevin step takes besides its tensors: checked, by name, and in the order of the ops."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

from effebm_ext import _C
from effebm_ext.limits import Bounds, Clamp, Clip, ClipNorm, ClipValue, Reflect, as_bounds
from effebm_ext.ops.checks import chain_scalar
from effebm_ext.ops.compressor import Compressor, FusedCompressor, is_black_box
from effebm_ext.rng import Rng, key_arguments

CompressorArguments = tuple[int, int, Tensor | None]
NO_COMPRESSOR: CompressorArguments = (_C.COMPRESSOR_NONE, 0, None)


@dataclasses.dataclass(frozen=True)
class StepCall:
    """The arguments of a Langevin step after its tensors. A compressor that is a black box is none
    of them, and neither is its clip: the kernels make the step along what it gives.

    Attributes:
        key: int64 ``(2,)`` on the device of the state.
        offset, first_chain: which noise of the key it is.
        step_size: a number, 0 if there are ``step_sizes``.
        step_sizes: None, or a tensor ``()`` or ``(n_chains,)`` in the compute dtype.
        noise_std: a number, 0 if there are ``noise_stds``; None stands for sqrt(step_size).
        noise_stds: None, or a tensor like step_sizes.
        compressor: None, or one that the kernels know, and
        compressor_arguments: the code, the size and the block offsets by which they know it.
        clip: of the gradient.
        bounds: of the new state.
    """

    key: Tensor
    offset: int
    first_chain: int
    step_size: float
    step_sizes: Tensor | None = None
    noise_std: float | None = None
    noise_stds: Tensor | None = None
    compressor: FusedCompressor | None = None
    compressor_arguments: CompressorArguments = NO_COMPRESSOR
    clip: Clip | None = None
    bounds: Clamp | Reflect | None = None

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
    ) -> StepCall:
        """The call for the state ``x``. The arguments are those of
        :func:`effebm_ext.langevin_step_`, which says what is raised. A generator draws its key
        after everything else is checked."""
        call = object.__new__(cls)
        own = call.__dict__  # a frozen dataclass takes three times as long to set its fields
        own["step_size"], own["step_sizes"] = chain_scalar(step_size, x, "step_size")
        noiseless = False
        if noise_std is not None:
            own["noise_std"], own["noise_stds"] = chain_scalar(noise_std, x, "noise_std")
            noiseless = call.noise_std == 0 and call.noise_stds is None
        if clip is not None:
            check_clip(clip)
        if not is_black_box(compressor):
            if compressor is not None:
                own["compressor"] = compressor
                own["compressor_arguments"] = compressor_arguments(compressor, x)
            if clip is not None:
                own["clip"] = clip
        if bounds is not None:
            own["bounds"] = as_bounds(bounds)
        own["key"], own["offset"], own["first_chain"] = key_arguments(rng, x, noiseless)
        return call

    def arguments(self) -> tuple[object, ...]:
        """The arguments of the ops, in the order of their schemas, without trailing defaults: every
        argument of an op takes its time."""
        noise_std, compressor, clip, bounds = (
            self.noise_std,
            self.compressor,
            self.clip,
            self.bounds,
        )
        if compressor is clip is bounds is noise_std is None:
            return self.key, self.offset, self.first_chain, self.step_size, self.step_sizes
        start = (
            self.key,
            self.offset,
            self.first_chain,
            self.step_size,
            self.step_sizes,
            noise_std,
            self.noise_stds,
        )
        if bounds is not None:
            code, limit = (_C.CLIP_NONE, 0.0) if clip is None else (clip.code, clip.limit)
            ends = bounds.code, bounds.lower, bounds.upper
            return *start, *self.compressor_arguments, code, limit, *ends
        if clip is not None:
            return *start, *self.compressor_arguments, clip.code, clip.limit
        return start if compressor is None else (*start, *self.compressor_arguments)

    def without_bounds(self) -> StepCall:
        return dataclasses.replace(self, bounds=None)

    def step_size_for(self, x: Tensor) -> float | Tensor:
        """The step size: a number, or a tensor against the axes of ``x``."""
        steps = self.step_sizes
        if steps is None:
            return self.step_size
        return steps.reshape(-1, *[1] * (x.dim() - 1)) if steps.dim() else steps

    def tensors(self) -> tuple[Tensor | None, ...]:
        """The tensors of the call, in the order of :meth:`with_tensors`."""
        return self.key, self.step_sizes, self.noise_stds, self.compressor_arguments[-1]

    def with_tensors(self, key: Any, steps: Any, noises: Any, offsets: Any) -> StepCall:
        """The same call of other tensors, or of None where autograd keeps them by themselves."""
        code, size, _ = self.compressor_arguments
        return dataclasses.replace(
            self,
            key=key,
            step_sizes=steps,
            noise_stds=noises,
            compressor_arguments=(code, size, offsets),
        )


def drift_arguments(
    grad: Tensor, compressor: FusedCompressor | None, clip: Clip | None
) -> tuple[object, ...]:
    """The arguments by which the op ``drift`` makes ``C(clip(grad))``, in the order of its schema,
    without trailing defaults.

    Raises:
        TypeError: compressor or clip is of another type.
        ValueError: the compressor does not fit the rows of ``grad``.
    """
    blocks = NO_COMPRESSOR if compressor is None else compressor_arguments(compressor, grad)
    if clip is not None:
        check_clip(clip)
        return *blocks, clip.code, clip.limit
    return () if compressor is None else blocks


def compressor_arguments(compressor: FusedCompressor, x: Tensor) -> CompressorArguments:
    if not isinstance(compressor, FusedCompressor):
        raise TypeError(
            "compressor: expected TopK, BlockSign, a function of a tensor, or None, "
            f"got {type(compressor).__name__}"
        )
    return compressor.kernel_arguments(x)


def check_clip(clip: Clip) -> None:
    if not isinstance(clip, (ClipValue, ClipNorm)):
        raise TypeError(f"clip: expected ClipValue, ClipNorm or None, got {type(clip).__name__}")
