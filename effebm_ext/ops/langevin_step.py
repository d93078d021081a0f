"""langevin_step_ and langevin_step: compress + step + noise + bounds in one pass over memory."""

from __future__ import annotations

import torch
from torch import Tensor

from effebm_ext.limits import ClipValue, Reflect, interval
from effebm_ext.ops.black_box import apply_black_box, check_apart, is_black_box, overwrite
from effebm_ext.ops.block_sign import BlockSign, block_sign_compress_reference
from effebm_ext.ops.checks import (
    check_like,
    check_not_differentiated,
    check_not_negated,
    check_not_transformed,
    check_state,
    check_writable,
    compute_dtype,
    refuse_negated,
    row_size,
)
from effebm_ext.ops.drift import clip_gradient, clip_with_statistics
from effebm_ext.ops.step_arguments import (
    BOUNDS,
    Bounds,
    Clip,
    Compressor,
    step_arguments,
)
from effebm_ext.ops.step_derivative import differentiable_step
from effebm_ext.ops.topk import TopK, topk_compress_reference
from effebm_ext.reference import canonical_sum, fma, normals, sqrt
from effebm_ext.rng import Rng

_STEP_INPLACE = torch.ops.effebm.langevin_step_.default


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
    statistics: Tensor | None = None,
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
        compressor: None, :class:`~effebm_ext.TopK`, :class:`~effebm_ext.BlockSign`, or any function
            that maps ``u``, x's shape and float32 (float64 for float64 states), to a tensor like
            it; that one runs by itself, before the fused update.
        noise_std: standard deviation of the noise, >= 0, like step_size a number or a tensor;
            default ``sqrt(step_size)``. 0 draws no noise.
        clip: :class:`~effebm_ext.ClipValue` or :class:`~effebm_ext.ClipNorm`; comes first.
        bounds: ``(lower, upper)`` clamps the new state, :class:`~effebm_ext.Reflect` mirrors it.
        residual: float32 (float64 for float64 states), x's shape; written. Needs a compressor.
        statistics: float32 (float64 for float64 states) ``(n_chains, 2)``, contiguous; written: the
            sum of squares of each chain's gradient, and how many of its elements clip changed.
        rng: a :class:`~effebm_ext.Key` (advance it with ``key.at(step)``), a torch.Generator on
            x's device, or None for torch's default generator.

    Returns:
        x.

    Tensors given as step_size or noise_std are not checked for their values. Under torch.compile
    pass step sizes that change as tensors; a torch.Generator cannot be traced.

    Raises:
        TypeError: a tensor has another dtype than stated, or an argument another type.
        ValueError: shapes or devices differ, a scalar is out of range, k > d, residual without
            compressor, a written tensor is expanded or a negated view.
        RuntimeError: a derivative by one of the tensors is taken (it requires grad and grad mode is
            on, or it has a tangent), or one is vmapped; x is on a device without kernels; two of
            the tensors overlap in memory (x and grad may be the same tensor).
    """
    check_state(x)
    check_writable(x, "x")
    tensors = (x, grad, residual, statistics, step_size, noise_std)
    check_not_transformed("langevin_step_", *tensors)
    check_residual(residual, x, compressor)
    if statistics is not None:
        _check_statistics(statistics, x)
    if is_black_box(compressor):
        move = step_arguments(x, grad, step_size, None, noise_std, None, bounds, rng)
        check_apart(x, grad, "x and grad", may_be_same=True)
        check_residual_apart(residual, x, grad)
        for name, written in (("x", x), ("residual", residual), ("statistics", statistics)):
            check_not_negated(written, name)
        for other in (x, grad, residual):
            check_apart(other, statistics, "statistics and x, grad or residual")
        clipped, sums = clip_with_statistics(grad, clip)
        with torch.no_grad():  # the function may have parameters
            c, new_residual = apply_black_box(compressor, clipped, residual)
        x.copy_(step_along(x, c, bounds, move))
        overwrite(residual, new_residual)
        overwrite(statistics, sums)
        return x
    arguments = step_arguments(x, grad, step_size, compressor, noise_std, clip, bounds, rng)
    _STEP_INPLACE(x, grad, residual, statistics, *arguments)
    for written in (x, residual, statistics):
        increment_version(written)
    return x


def check_residual(residual: Tensor | None, x: Tensor, compressor: Compressor | None) -> None:
    if residual is None:
        return
    if compressor is None:
        raise ValueError("residual: expected a compressor with it, got compressor=None")
    check_like(residual, x, "residual", compute_dtype(x.dtype))
    check_writable(residual, "residual")


def check_residual_apart(residual: Tensor | None, x: Tensor, grad: Tensor) -> None:
    check_apart(x, residual, "residual and x")
    check_apart(grad, residual, "residual and grad")


def _check_statistics(statistics: Tensor, x: Tensor) -> None:
    check_like(statistics, x.new_empty(x.shape[0], 2), "statistics", compute_dtype(x.dtype))
    if not statistics.is_contiguous():
        raise ValueError("statistics: expected a contiguous tensor")


def increment_version(written: Tensor | None) -> None:
    """Lets autograd know that an op wrote a tensor; torch.compile does this itself."""
    if written is None or torch.compiler.is_compiling() or written.is_inference():
        return
    torch.autograd.graph.increment_version(written)


def step_along(x: Tensor, c: Tensor, bounds: Bounds | None, arguments: list[object]) -> Tensor:
    """The step from ``x`` along a drift ``c`` of the compute dtype, to the bit the one that a
    compressor which gives ``c`` makes. ``arguments`` are the step's, without the drift's."""
    if x.dtype == c.dtype or bounds is None:
        return differentiable_step(x.to(c.dtype), c, None, None, arguments).to(x.dtype)
    # A 16-bit state is computed with in float32 and rounded once, at the end; its bounds before.
    free = differentiable_step(x.to(c.dtype), c, None, None, arguments[:BOUNDS])
    return _bound(free, bounds, x.dtype).to(x.dtype)


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

    Differentiable almost everywhere in x and grad, in reverse and in forward mode, for a given draw
    of the noise: a clipped element and one that bounds have stopped have derivative 0, a mirrored
    one -1, compressors theirs.

    ``torch.vmap`` folds its axis into the chains. A step with noise then obeys its ``randomness``:
    under ``"different"`` chains are numbered on from slice to slice, after those of the first;
    under ``"same"`` every slice has the noise that it would have by itself; ``"error"``, the
    default, refuses.

    Returns:
        A contiguous tensor of x's shape and dtype.

    Raises:
        What :func:`langevin_step_` raises, but for derivatives by x and grad; RuntimeError also for
        noise under ``vmap(randomness="error")``.
    """
    check_state(x)
    check_not_differentiated("langevin_step in step_size and noise_std", step_size, noise_std)
    if is_black_box(compressor):
        move = step_arguments(x, grad, step_size, None, noise_std, None, bounds, rng)
        c, _ = apply_black_box(compressor, clip_gradient(grad, clip))
        return step_along(x, c, bounds, move)
    arguments = step_arguments(x, grad, step_size, compressor, noise_std, clip, bounds, rng)
    return differentiable_step(x, grad, compressor, clip, arguments)


refuse_negated(_STEP_INPLACE)


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
    clip: Clip | None = None,
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
        limit = torch.tensor(clip.limit, dtype=dtype)
        if isinstance(clip, ClipValue):
            u = _clamp(u, -limit, limit)
        else:
            norm = sqrt(canonical_sum(u * u))
            u = u * torch.where(norm > limit, limit / norm, 1.0)[:, None]
    if residual is not None:
        u = u + residual.reshape(n_chains, dim)
    c = u
    if isinstance(compressor, TopK):
        c = topk_compress_reference(u, compressor.entries(dim))
    elif isinstance(compressor, BlockSign):
        c = block_sign_compress_reference(u, compressor)

    step = torch.as_tensor(step_size, dtype=dtype).reshape(-1, 1)
    state = fma(-(step * 0.5), c, state)
    noise = sqrt(step) if noise_std is None else torch.as_tensor(noise_std, dtype=dtype)
    noise = noise.reshape(-1, 1)
    xi = normals(n_chains, dim, seed, offset, first_chain).to(dtype)
    state = torch.where(noise != 0, fma(noise, xi, state), state)
    if bounds is not None:
        state = _bound(state, bounds, x.dtype)
    new_residual = None if residual is None else (u - c).reshape(x.shape)
    return state.to(x.dtype).reshape(x.shape), new_residual


def _bound(state: Tensor, bounds: Bounds, dtype: torch.dtype) -> Tensor:
    """A state in the compute dtype within bounds, which are rounded as states of ``dtype`` are."""
    exact = (torch.full((), b, dtype=torch.float64, device=state.device) for b in interval(bounds))
    lower, upper = (b.to(state.dtype).to(dtype).to(state.dtype) for b in exact)
    if isinstance(bounds, Reflect):
        mirrored = torch.where(state > upper, (upper + upper) - state, state)
        state = torch.where(state < lower, (lower + lower) - state, mirrored)
    return _clamp(state, lower, upper)


def _clamp(v: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    return torch.where(v < lower, lower, torch.where(v > upper, upper, v))
