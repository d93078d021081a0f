"""langevin_step_ and langevin_step: compress + step + noise + bounds in one pass over memory."""

from __future__ import annotations

import torch
from torch import Tensor

from effebm_ext.limits import Bounds, Clip, as_bounds
from effebm_ext.ops.black_box import black_box_step
from effebm_ext.ops.checks import (
    check_apart,
    check_like,
    check_not_differentiated,
    check_not_negated,
    check_not_transformed,
    check_residual,
    check_state,
    check_writable,
    compute_dtype,
    increment_version,
    refuse_negated,
    row_size,
)
from effebm_ext.ops.clip import clip_with_statistics
from effebm_ext.ops.compressor import Compressor, FusedCompressor, is_black_box, mover_of
from effebm_ext.ops.step_call import StepCall
from effebm_ext.ops.step_derivative import differentiable_step
from effebm_ext.ops.stochastic_round import stochastic_round_reference
from effebm_ext.reference import fma, normals, sqrt
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
    stochastic_rounding: bool = False,
    averaged_noise: bool = False,
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
        step_size: gamma >= 0; a number, or a tensor: ``()``, ``(n_chains,)`` for one per chain, or
            ``(1, *event)`` or ``(n_chains, *event)`` for one per element: a diagonal
            preconditioner, or a mask, as elements of step size 0 stay as they are within bounds.
        compressor: None, :class:`~effebm_ext.TopK`, :class:`~effebm_ext.BlockSign`,
            :class:`~effebm_ext.RandomK`, :class:`~effebm_ext.NaturalCompression`,
            :class:`~effebm_ext.RandomBlock`, whose step moves only the entries that it keeps, or
            any function that maps ``u``, x's shape and float32 (float64 for float64 states), to a
            tensor like it; such a function runs by itself, before the fused update.
        noise_std: standard deviation of the noise, >= 0, like step_size a number or a tensor;
            default ``sqrt(step_size)``. 0 draws no noise.
        clip: :class:`~effebm_ext.ClipValue` or :class:`~effebm_ext.ClipNorm`; comes first.
        bounds: of the new state: :class:`~effebm_ext.Clamp`, for which ``(lower, upper)`` is short,
            or :class:`~effebm_ext.Reflect`.
        residual: float32 (float64 for float64 states), x's shape; written. Needs a compressor.
        statistics: float32 (float64 for float64 states) ``(n_chains, 2)``, contiguous; written: the
            sum of squares of each chain's gradient, and how many of its elements clip changed.
        stochastic_rounding: round the new state, bfloat16 or float16, to one of its two neighbours
            at random, so that the mean is kept and no step is too small to move a chain; False:
            round to nearest.
        averaged_noise: add ``noise_std`` times the mean of the noise of this step and of the noise
            of the next one, ``key.at(1)`` (Leimkuhler and Matthews 2013). It takes most of the bias
            of the step size off the chain; the variance of the noise of a step is a half of
            ``noise_std**2``. Needs a key.
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
    check_not_transformed("langevin_step_", x, grad, residual, statistics, step_size, noise_std)
    if residual is not None:
        check_residual(residual, x, compressor)
    if statistics is not None:
        _check_statistics(statistics, x)
    check_like(grad, x, "grad", x.dtype)
    call = StepCall.of(
        x, step_size, compressor, noise_std, clip, bounds, rng, stochastic_rounding, averaged_noise
    )
    if is_black_box(compressor):
        check_apart(x, grad, "x and grad", may_be_same=True)
        check_not_negated(x, "x")
        check_not_negated(statistics, "statistics")
        for other in (x, grad, residual):
            check_apart(other, statistics, "statistics and x, grad or residual")
        with torch.no_grad():  # the function may have parameters
            step = black_box_step(x, grad, residual, compressor, clip, call)
            if statistics is not None:
                statistics.copy_(clip_with_statistics(grad, clip)[1])
            x.copy_(step.x)
            if residual is not None and step.residual is not None:
                residual.copy_(step.residual)
        return x
    _STEP_INPLACE(x, grad, residual, statistics, *call.arguments())
    for written in (x, residual, statistics):
        if written is not None:
            increment_version(written)
    return x


def _check_statistics(statistics: Tensor, x: Tensor) -> None:
    check_like(statistics, x.new_empty(x.shape[0], 2), "statistics", compute_dtype(x.dtype))
    if not statistics.is_contiguous():
        raise ValueError("statistics: expected a contiguous tensor")


def langevin_step(
    x: Tensor,
    grad: Tensor,
    step_size: float | Tensor,
    *,
    compressor: Compressor | None = None,
    noise_std: float | Tensor | None = None,
    clip: Clip | None = None,
    bounds: Bounds | None = None,
    stochastic_rounding: bool = False,
    averaged_noise: bool = False,
    rng: Rng = None,
) -> Tensor:
    """One Langevin step into a new tensor: :func:`langevin_step_` without error feedback.

    Differentiable almost everywhere in x and grad, in reverse and in forward mode, for a given draw
    of the noise: a clipped element and one that bounds have stopped have derivative 0, a mirrored
    one -1, compressors theirs, and rounding 1. A stochastic rounding behind a compressor that is a
    function refuses derivatives.

    ``torch.vmap`` folds its axis into the chains. A step with noise then obeys its ``randomness``:
    under ``"different"`` chains are numbered on from slice to slice, after those of the first;
    under ``"same"`` every slice has the noise that it would have by itself; ``"error"``, the
    default, refuses.

    Returns:
        A contiguous tensor of x's shape and dtype.

    Raises:
        Exception: what :func:`langevin_step_` raises, but for derivatives by x and grad.
        RuntimeError: noise under ``vmap(randomness="error")``.
    """
    check_state(x)
    check_not_differentiated("langevin_step in step_size and noise_std", step_size, noise_std)
    check_like(grad, x, "grad", x.dtype)
    call = StepCall.of(
        x, step_size, compressor, noise_std, clip, bounds, rng, stochastic_rounding, averaged_noise
    )
    if is_black_box(compressor):
        return black_box_step(x, grad, None, compressor, clip, call).x
    return differentiable_step(x, grad, call)


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
    stochastic_rounding: bool = False,
    averaged_noise: bool = False,
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
        u = clip.apply(u)
    if residual is not None:
        u = u + residual.reshape(n_chains, dim)
    c = u
    if isinstance(compressor, FusedCompressor):
        c = compressor.reference(u, seed, offset, first_chain)

    before, step = state, _columns(step_size, dtype)
    state = fma(-(step * 0.5), c, state)
    noise = sqrt(step) if noise_std is None else _columns(noise_std, dtype)
    xi = normals(n_chains, dim, seed, offset, first_chain)
    if averaged_noise:
        xi, noise = xi + normals(n_chains, dim, seed, offset + 1, first_chain), noise * 0.5
    xi = xi.to(dtype)
    state = torch.where(noise != 0, fma(noise, xi, state), state)
    limits = as_bounds(bounds)
    if limits is not None:
        state = limits.apply(state, x.dtype)
    new_residual = None if residual is None else (u - c).reshape(x.shape)
    if stochastic_rounding:
        state = stochastic_round_reference(
            state, x.dtype, seed=seed, offset=offset, first_chain=first_chain
        )
    mover = mover_of(compressor)
    if mover is not None:
        kept = mover.reference(torch.ones_like(u), seed, offset, first_chain) != 0
        state = torch.where(kept, state, before)
    return state.to(x.dtype).reshape(x.shape), new_residual


def _columns(values: float | Tensor, dtype: torch.dtype) -> Tensor:
    """Returns values for rows of elements: one for all, one per row, or one per element."""
    given = torch.as_tensor(values, dtype=dtype)
    return given.flatten(1) if given.dim() > 1 else given.reshape(-1, 1)
