"""The arguments of a Langevin step: checked, and in the order in which the ops take them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from effebm_ext import _C
from effebm_ext.limits import ClipNorm, ClipValue, Reflect, interval
from effebm_ext.ops.block_sign import BlockSign
from effebm_ext.ops.checks import check_like, compute_dtype
from effebm_ext.ops.topk import TopK
from effebm_ext.rng import Rng, key_arguments
from effebm_ext.scalars import as_float

FusedCompressor = TopK | BlockSign
Compressor = FusedCompressor | Callable[[Tensor], Tensor]
Clip = ClipValue | ClipNorm
Bounds = tuple[float, float] | Reflect

STEP_SIZE, STEP_SIZES, BOUNDS = 3, 4, 12  # places among the arguments
_LARGEST = {dtype: torch.finfo(dtype).max for dtype in (torch.float32, torch.float64)}


def step_arguments(
    x: Tensor,
    grad: Tensor,
    step_size: float | Tensor,
    compressor: Compressor | None,
    noise_std: float | Tensor | None,
    clip: Clip | None,
    bounds: Bounds | None,
    rng: Rng,
) -> list[object]:
    """Checks the arguments both ops share and puts them in the order of the schema; the last ones
    are left out where they are its defaults, as every argument of an op takes its time."""
    check_like(grad, x, "grad", x.dtype)
    step, steps = chain_scalar(step_size, x, "step_size")
    noise, noises = (None, None) if noise_std is None else chain_scalar(noise_std, x, "noise_std")
    drift = drift_arguments(x, compressor, clip)
    limits = [] if bounds is None else bounds_arguments(bounds)
    key = key_arguments(rng, x, noise == 0 and noises is None)
    arguments: list[object] = [*key, step, steps]
    if not drift and noise_std is None and not limits:
        return arguments
    arguments += [noise, noises]
    if limits:
        drift = drift + _NO_DRIFT[len(drift) :]
    return arguments + drift + limits


_NO_DRIFT: list[object] = [_C.COMPRESSOR_NONE, 0, None, _C.CLIP_NONE, 0.0]


def drift_arguments(x: Tensor, compressor: Compressor | None, clip: Clip | None) -> list[object]:
    """What is done to a gradient, in the order of the schemas; without what is their default."""
    if compressor is None and clip is None:
        return []
    if compressor is None:
        blocks = _NO_DRIFT[:3]
    elif isinstance(compressor, (TopK, BlockSign)):
        blocks = [*compressor.kernel_arguments(x)]
    else:
        raise TypeError(
            "compressor: expected TopK, BlockSign, a function of a tensor, or None, "
            f"got {type(compressor).__name__}"
        )
    if clip is None:
        return blocks
    if isinstance(clip, ClipValue):
        return [*blocks, _C.CLIP_VALUE, clip.limit]
    if isinstance(clip, ClipNorm):
        return [*blocks, _C.CLIP_NORM, clip.limit]
    raise TypeError(f"clip: expected ClipValue, ClipNorm or None, got {type(clip).__name__}")


def chain_scalar(value: float | Tensor, x: Tensor, name: str) -> tuple[float, Tensor | None]:
    """A number as (number, None), a tensor as (0.0, tensor in the compute dtype). A tensor without
    axes stays one, so that nobody waits for its device."""
    if type(value) is not float and isinstance(value, Tensor):
        if value.dim() > 1 or (value.dim() == 1 and value.shape[0] != x.shape[0]):
            raise ValueError(
                f"{name}: expected a number or a tensor of shape () or ({x.shape[0]},), "
                f"got shape {tuple(value.shape)}"
            )
        if value.dtype == torch.bool or value.is_complex():
            raise TypeError(f"{name}: expected a tensor of real numbers, got {value.dtype}")
        return 0.0, value.detach().to(x.device, compute_dtype(x.dtype))
    compiling = torch.compiler.is_compiling()
    if type(value) is float and 0 <= value < _LARGEST[torch.float32] and not compiling:
        return value, None  # what nearly every call has
    number, dtype = as_float(value, name, "a number or a tensor"), compute_dtype(x.dtype)
    if not 0 <= number <= _LARGEST[dtype]:
        raise ValueError(f"{name}: expected a finite number >= 0, got {value}")
    if compiling:  # as a constant of the graph every value would recompile it
        return 0.0, torch.ones((), dtype=dtype, device=x.device) * number
    return number, None


def bounds_arguments(bounds: Bounds) -> list[object]:
    mirror = isinstance(bounds, Reflect)
    return [_C.BOUNDS_REFLECT if mirror else _C.BOUNDS_CLAMP, *interval(bounds)]
