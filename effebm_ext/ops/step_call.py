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

# A frozen dataclass sets its fields slowly, one by one; where calls are made at every step, they go
# into __dict__ at once.


@dataclasses.dataclass(frozen=True)
class DriftCall:
    """What is done to a gradient: ``C(clip(grad))``.

    Attributes:
        compressor: as the caller gave it. The ops run one that the kernels know; a black box is no
            compressor to them.
        compressor_code, compressor_size, block_offsets: the compressor as the ops know it.
        clip: as the caller gave it.
    """

    compressor: Compressor | None = None
    compressor_code: int = _C.COMPRESSOR_NONE
    compressor_size: int = 0
    block_offsets: Tensor | None = None
    clip: Clip | None = None

    @classmethod
    def of(cls, x: Tensor, compressor: Compressor | None, clip: Clip | None) -> DriftCall:
        """For chains like those of ``x``.

        Raises:
            TypeError: compressor or clip is of another type.
            ValueError: the compressor does not fit the rows of ``x``.
        """
        call = object.__new__(cls)
        own = call.__dict__
        own["compressor"] = compressor
        if isinstance(compressor, FusedCompressor):
            own["compressor_code"], own["compressor_size"], own["block_offsets"] = (
                compressor.kernel_arguments(x)
            )
        elif compressor is not None and not is_black_box(compressor):
            raise TypeError(
                "compressor: expected TopK, BlockSign, a function of a tensor, or None, "
                f"got {type(compressor).__name__}"
            )
        if clip is not None:
            if not isinstance(clip, (ClipValue, ClipNorm)):
                raise TypeError(
                    f"clip: expected ClipValue, ClipNorm or None, got {type(clip).__name__}"
                )
            own["clip"] = clip
        return call

    def arguments(self) -> tuple[object, ...]:
        """The arguments of the ops, in the order of their schemas, without trailing defaults: every
        argument of an op takes its time."""
        if self.clip is not None:
            return self.all_arguments()
        if self.compressor_code != _C.COMPRESSOR_NONE:
            return self.compressor_code, self.compressor_size, self.block_offsets
        return ()

    def all_arguments(self) -> tuple[object, ...]:
        """The arguments of the ops, in the order of their schemas."""
        clip = self.clip
        code, limit = (_C.CLIP_NONE, 0.0) if clip is None else (clip.code, clip.limit)
        return self.compressor_code, self.compressor_size, self.block_offsets, code, limit


AS_IT_IS = DriftCall()  # the gradient


@dataclasses.dataclass(frozen=True)
class StepCall:
    """The arguments of a Langevin step after its tensors.

    Attributes:
        key: int64 ``(2,)`` on the device of the state.
        offset, first_chain: which noise of the key it is.
        step_size: a number, 0 if there are ``step_sizes``.
        drift: what is done to the gradient.
        step_sizes: None, or a tensor ``()`` or ``(n_chains,)`` in the compute dtype.
        noise_std: a number, 0 if there are ``noise_stds``; None stands for sqrt(step_size).
        noise_stds: None, or a tensor like step_sizes.
        bounds: of the new state.
    """

    key: Tensor
    offset: int
    first_chain: int
    step_size: float
    drift: DriftCall
    step_sizes: Tensor | None = None
    noise_std: float | None = None
    noise_stds: Tensor | None = None
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
        own = call.__dict__
        own["step_size"], own["step_sizes"] = chain_scalar(step_size, x, "step_size")
        if noise_std is not None:
            own["noise_std"], own["noise_stds"] = chain_scalar(noise_std, x, "noise_std")
        drifts = compressor is not None or clip is not None
        own["drift"] = DriftCall.of(x, compressor, clip) if drifts else AS_IT_IS
        if bounds is not None:
            own["bounds"] = as_bounds(bounds)
        noiseless = call.noise_std == 0 and call.noise_stds is None
        own["key"], own["offset"], own["first_chain"] = key_arguments(rng, x, noiseless)
        return call

    def arguments(self) -> tuple[object, ...]:
        """The arguments of the ops, in the order of their schemas, without trailing defaults."""
        key, drift, bounds = (self.key, self.offset, self.first_chain), self.drift, self.bounds
        if bounds is None and drift is AS_IT_IS and self.noise_std is None:
            return *key, self.step_size, self.step_sizes
        scales = self.step_size, self.step_sizes, self.noise_std, self.noise_stds
        if bounds is None:
            return *key, *scales, *drift.arguments()
        return *key, *scales, *drift.all_arguments(), bounds.code, bounds.lower, bounds.upper

    def without_bounds(self) -> StepCall:
        return dataclasses.replace(self, bounds=None)

    def without_drift(self) -> StepCall:
        """The step along a gradient as it is."""
        return dataclasses.replace(self, drift=AS_IT_IS)

    def step_size_for(self, x: Tensor) -> float | Tensor:
        """The step size: a number, or a tensor against the axes of ``x``."""
        steps = self.step_sizes
        if steps is None:
            return self.step_size
        return steps.reshape(-1, *[1] * (x.dim() - 1)) if steps.dim() else steps

    def tensors(self) -> tuple[Tensor | None, ...]:
        """The tensors of the call, in the order of :meth:`with_tensors`."""
        return self.key, self.step_sizes, self.noise_stds, self.drift.block_offsets

    def with_tensors(self, key: Any, steps: Any, noises: Any, offsets: Any) -> StepCall:
        """The same call of other tensors, or of None where autograd keeps them by themselves."""
        drift = dataclasses.replace(self.drift, block_offsets=offsets)
        return dataclasses.replace(self, key=key, step_sizes=steps, noise_stds=noises, drift=drift)
