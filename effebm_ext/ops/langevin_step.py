"""langevin_step_ and langevin_step: compress + step + noise + bounds in one pass over memory."""

from __future__ import annotations

import torch
from torch import Tensor

from effebm_ext import _C
from effebm_ext.limits import ClipNorm, ClipValue, Reflect, check_interval
from effebm_ext.ops.block_sign import BlockSign, block_sign_compress_reference
from effebm_ext.ops.checks import (
    check_like,
    check_not_differentiated,
    check_state,
    check_writable,
    compute_dtype,
    row_size,
)
from effebm_ext.ops.topk import TopK, topk_compress_reference
from effebm_ext.reference import fma, normals, sqrt
from effebm_ext.rng import Rng, key_arguments

Compressor = TopK | BlockSign
Clip = ClipValue | ClipNorm
Bounds = tuple[float, float] | Reflect

_STEP = torch.ops.effebm.langevin_step.default
_STEP_INPLACE = torch.ops.effebm.langevin_step_.default
_LARGEST = {dtype: torch.finfo(dtype).max for dtype in (torch.float32, torch.float64)}


def langevin_step_(
    x: Tensor,
    grad: Tensor,
    step_size: float | Tensor,
    *,
    compressor: Compressor | None = None,
    noise_std: float | Tensor | None = None,
    clip: Clip | None = None,
    bounds: Bounds | None = None,
    residual: Tensor | None = None,
    rng: Rng = None,
) -> Tensor:
    """One Langevin step in place, every tensor read and written once::

        x <- bounds(x - step_size / 2 * C(clip(grad)) + noise_std * xi)

    EFF-EBM, Algorithm 1. The step size is the whole gamma: ``2 h`` of libraries that write the step
    as ``x - h * grad + sqrt(2 h) * xi``. With ``residual`` (error feedback, as in COMP-AMS) the
    compressor sees ``u = clip(grad) + residual``, the step uses ``C(u)``, and
    ``residual <- u - C(u)``.

    Args:
        x: the state, float32, float64, bfloat16 or float16 ``(n_chains, *event)``; written.
        grad: gradient of the energy at x, same shape and dtype. The step descends: callers who
            have a score (gradient of the log density) pass its negative.
        step_size: gamma >= 0; a number, or a tensor ``()`` or ``(n_chains,)`` for one per chain.
        compressor: None, :class:`~effebm_ext.TopK` or :class:`~effebm_ext.BlockSign`.
        noise_std: standard deviation of the noise, >= 0, like step_size a number or a tensor;
            default ``sqrt(step_size)``. 0 draws no noise.
        clip: :class:`~effebm_ext.ClipValue`, applied to grad first.
        bounds: ``(lower, upper)`` clamps the new state, :class:`~effebm_ext.Reflect` mirrors it.
        residual: float32 (float64 for float64 states), x's shape; written. Needs a compressor.
        rng: a :class:`~effebm_ext.Key` (advance it with ``key.at(step)``), a torch.Generator on
            x's device, or None for torch's default generator.

    Returns:
        x.

    Tensors given as step_size or noise_std are not checked for their values. Under torch.compile
    pass step sizes that change as tensors; a torch.Generator cannot be traced.

    Raises:
        TypeError: a tensor has another dtype than stated, or an argument another type.
        ValueError: shapes or devices differ, a scalar is out of range, k > d, residual without
            compressor, x is an expanded tensor.
        NotImplementedError: ``clip=ClipNorm(...)``.
        RuntimeError: grad mode is on and x or grad requires grad; x is on a device without
            kernels; two of the tensors overlap in memory (x and grad may be the same tensor).
    """
    check_state(x)
    check_writable(x, "x")
    check_not_differentiated("langevin_step_", x, grad, residual, step_size, noise_std)
    if residual is not None:
        if compressor is None:
            raise ValueError("residual: expected a compressor with it, got compressor=None")
        check_like(residual, x, "residual", compute_dtype(x.dtype))
        check_writable(residual, "residual")
    arguments = _step_arguments(x, grad, step_size, compressor, noise_std, clip, bounds, rng)
    _STEP_INPLACE(x, grad, residual, None, *arguments)
    if not torch.compiler.is_compiling():  # which does this itself
        _increment_version(x)
        if residual is not None:
            _increment_version(residual)
    return x


def _increment_version(written: Tensor) -> None:
    if not written.is_inference():
        torch.autograd.graph.increment_version(written)


def langevin_step(
    x: Tensor,
    grad: Tensor,
    step_size: float | Tensor,
    *,
    compressor: Compressor | None = None,
    noise_std: float | Tensor | None = None,
    clip: Clip | None = None,
    bounds: Bounds | None = None,
    rng: Rng = None,
) -> Tensor:
    """One Langevin step into a new tensor: :func:`langevin_step_` without error feedback.

    Returns:
        A contiguous tensor of x's shape and dtype.

    Raises:
        What :func:`langevin_step_` raises.
    """
    check_state(x)
    check_not_differentiated("langevin_step", x, grad, step_size, noise_std)
    arguments = _step_arguments(x, grad, step_size, compressor, noise_std, clip, bounds, rng)
    return _STEP(x, grad, *arguments)


def _step_arguments(
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
    step, steps = _scalar(step_size, x, "step_size")
    noise, noises = (None, None) if noise_std is None else _scalar(noise_std, x, "noise_std")
    if compressor is None:
        code, size = _C.COMPRESSOR_NONE, 0
    elif isinstance(compressor, (TopK, BlockSign)):
        code, size = compressor.kernel_arguments(row_size(x))
    else:
        raise TypeError(
            f"compressor: expected TopK, BlockSign or None, got {type(compressor).__name__}"
        )
    limits = [] if clip is None and bounds is None else [*_clip(clip), *_bounds(bounds)]
    arguments: list[object] = [*key_arguments(rng, x), step, steps]
    if compressor is None and noise_std is None and not limits:
        return arguments
    arguments += [noise, noises, code, size]
    if limits:
        arguments += [None, *limits]
    return arguments


def _scalar(value: float | Tensor, x: Tensor, name: str) -> tuple[float, Tensor | None]:
    """A number as (number, None), a tensor as (0.0, tensor in the compute dtype)."""
    if type(value) is not float and isinstance(value, Tensor):
        if value.dim() > 1 or (value.dim() == 1 and value.shape[0] != x.shape[0]):
            raise ValueError(
                f"{name}: expected a number or a tensor of shape () or ({x.shape[0]},), "
                f"got shape {tuple(value.shape)}"
            )
        return 0.0, value.detach().to(x.device, compute_dtype(x.dtype))
    compiling = torch.compiler.is_compiling()
    if type(value) is float and 0 <= value < _LARGEST[torch.float32] and not compiling:
        return value, None  # what nearly every call has
    if isinstance(value, bool) or not isinstance(value, (int, float, torch.SymFloat, torch.SymInt)):
        raise TypeError(f"{name}: expected a number or a tensor, got {type(value).__name__}")
    dtype = compute_dtype(x.dtype)
    if not 0 <= value <= _LARGEST[dtype]:
        raise ValueError(f"{name}: expected a finite number >= 0, got {value}")
    if compiling:  # as a constant of the graph every value would recompile it
        return 0.0, torch.ones((), dtype=dtype, device=x.device) * value
    return float(value), None


def _clip(clip: Clip | None) -> tuple[int, float]:
    if clip is None:
        return _C.CLIP_NONE, 0.0
    if isinstance(clip, ClipValue):
        return _C.CLIP_VALUE, float(clip.limit)
    if isinstance(clip, ClipNorm):
        raise NotImplementedError("clip: ClipNorm is not implemented yet")
    raise TypeError(f"clip: expected ClipValue, ClipNorm or None, got {type(clip).__name__}")


def _bounds(bounds: Bounds | None) -> tuple[int, float, float]:
    if bounds is None:
        return _C.BOUNDS_NONE, 0.0, 0.0
    if isinstance(bounds, Reflect):
        return _C.BOUNDS_REFLECT, float(bounds.lower), float(bounds.upper)
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise TypeError(f"bounds: expected (lower, upper), Reflect or None, got {bounds!r}")
    lower, upper = bounds
    check_interval(lower, upper)
    return _C.BOUNDS_CLAMP, float(lower), float(upper)


@torch.library.register_fake("effebm::langevin_step_")
def _(x: Tensor, *arguments: object) -> None:
    return None


@torch.library.register_fake("effebm::langevin_step")
def _(x: Tensor, *arguments: object) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def langevin_step_reference(
    x: Tensor,
    grad: Tensor,
    step_size: float | Tensor,
    *,
    compressor: Compressor | None = None,
    noise_std: float | Tensor | None = None,
    clip: ClipValue | None = None,
    bounds: Bounds | None = None,
    residual: Tensor | None = None,
    seed: int = 0,
    offset: int = 0,
    first_chain: int = 0,
) -> tuple[Tensor, Tensor | None]:
    """The same in plain PyTorch, returning the new state and the new residual.

    Equal to the ops in bits for all dtypes but float64, there to an ulp or two (see
    :func:`effebm_ext.reference.fma`).
    """
    n_chains, dim = x.shape[0], row_size(x)
    dtype = compute_dtype(x.dtype)
    state = x.reshape(n_chains, dim).to(dtype)
    u = grad.reshape(n_chains, dim).to(dtype)
    if clip is not None:
        u = _clamp(u, -torch.tensor(clip.limit, dtype=dtype), torch.tensor(clip.limit, dtype=dtype))
    if residual is not None:
        u = u + residual.reshape(n_chains, dim)
    c = u
    if isinstance(compressor, TopK):
        c = topk_compress_reference(u, compressor.entries(dim))
    elif isinstance(compressor, BlockSign):
        c = block_sign_compress_reference(u, compressor.block_size)

    step = torch.as_tensor(step_size, dtype=dtype).reshape(-1, 1)
    state = fma(-(step * 0.5), c, state)
    noise = sqrt(step) if noise_std is None else torch.as_tensor(noise_std, dtype=dtype)
    noise = noise.reshape(-1, 1)
    xi = normals(n_chains, dim, seed, offset, first_chain).to(dtype)
    state = torch.where(noise != 0, fma(noise, xi, state), state)
    if bounds is not None:
        low, high = (bounds.lower, bounds.upper) if isinstance(bounds, Reflect) else bounds
        lower, upper = (torch.tensor(b, dtype=dtype).to(x.dtype).to(dtype) for b in (low, high))
        if isinstance(bounds, Reflect):
            mirrored = torch.where(state > upper, (upper + upper) - state, state)
            state = torch.where(state < lower, (lower + lower) - state, mirrored)
        state = _clamp(state, lower, upper)
    new_residual = None if residual is None else (u - c).reshape(x.shape)
    return state.to(x.dtype).reshape(x.shape), new_residual


def _clamp(v: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    return torch.where(v < lower, lower, torch.where(v > upper, upper, v))
