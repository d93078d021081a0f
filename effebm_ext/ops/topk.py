"""Top-k: keep the k entries of largest magnitude of every row."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from effebm_ext import _C
from effebm_ext.ops.checks import check_state, is_differentiated, row_size
from effebm_ext.ops.compressor import FusedCompressor
from effebm_ext.ops.packing import PackedEntries, check_packable, pack_entries
from effebm_ext.ops.vmap import rule_by_folding
from effebm_ext.scalars import as_float, as_int
from effebm_ext.transforms import forward_formula, is_transformed


def topk_compress(x: Tensor, k: int) -> Tensor:
    """Keep exactly the ``k`` entries of largest magnitude of every row, zero the rest.

    Ties go to the lower index; ``-0`` equals ``+0``, denormals count, NaN ranks above infinity.
    Top-k sparsification as in EFF-EBM, Algorithm 1. Differentiable almost everywhere, in
    reverse and in forward mode: by the mask of the kept entries. ``torch.vmap`` folds its axis into
    the chains.

    Args:
        x: float32, float64, bfloat16 or float16 ``(n_chains, *event)``, any strides.
        k: entries to keep per row, ``0 <= k <= d`` with ``d`` the elements of a row.

    Returns:
        A new contiguous tensor of x's shape and dtype.

    Raises:
        TypeError: x is not a tensor of one of these dtypes, or k is not an int.
        ValueError: k is out of range, or x has no axes.
        RuntimeError: x is on a device this build has no kernels for.
    """
    check_state(x)
    k = checked_k(k, row_size(x))
    if is_transformed():
        return _Transformable.apply(x, k)
    if is_differentiated(x):
        return _Differentiable.apply(x, k)
    return _COMPRESS(x, k)


_COMPRESS = torch.ops.effebm.topk_compress.default


class _Differentiable(torch.autograd.Function):
    """The op in reverse mode only, as torch.compile traces no function that has a forward mode."""

    @staticmethod
    def forward(x: Tensor, k: int) -> Tensor:
        return _COMPRESS(x, k)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (output,) = ctx.saved_tensors
        return torch.where(output != 0, gradient, 0), None


class _Transformable(_Differentiable):
    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        _Differentiable.setup_context(ctx, inputs, output)
        ctx.save_for_forward(output)

    @staticmethod
    @forward_formula
    def jvp(ctx: Any, saved: Sequence[Tensor], tangent: Tensor, _: None) -> Tensor:
        (output,) = saved
        return torch.where(output != 0, tangent, 0)


def checked_k(k: Any, dim: int) -> int:
    k = as_int(k, "k")
    if not 0 <= k <= dim:
        raise ValueError(f"k: expected 0 <= k <= {dim}, the elements of a row, got {k}")
    return k


@dataclasses.dataclass(frozen=True, init=False)
class TopK(FusedCompressor):
    """Keep the entries of largest magnitude of every chain's gradient.

    Args:
        k: entries to keep per chain; or
        ratio: the fraction to keep, ``0 < ratio <= 1``: ``max(1, round_half_up(ratio * d))`` of
            ``d`` entries.

    Raises:
        TypeError: both or neither of k and ratio are given, k is not an int, or ratio is not a
            number.
        ValueError: k is negative, or ratio is outside (0, 1].
    """

    k: int | None
    ratio: float | None

    def __init__(self, k: int | None = None, *, ratio: float | None = None) -> None:
        if (k is None) == (ratio is None):
            raise TypeError(f"TopK: expected either k or ratio, got k={k} and ratio={ratio}")
        if k is not None:
            try:
                k = as_int(k, "k")
            except TypeError as error:
                raise TypeError(f"{error} (a fraction is ratio=)") from None
            if k < 0:
                raise ValueError(f"k: expected at least 0, got {k}")
        if ratio is not None:
            ratio = as_float(ratio, "ratio")
            if not 0 < ratio <= 1:
                raise ValueError(f"ratio: expected 0 < ratio <= 1, got {ratio}")
        object.__setattr__(self, "k", k)
        object.__setattr__(self, "ratio", ratio)

    def entries(self, dim: int) -> int:
        """How many of ``dim`` entries are kept."""
        if self.ratio is None:
            return checked_k(self.k, dim)
        return min(dim, max(1, math.floor(self.ratio * dim + 0.5)))

    def compress(self, x: Tensor) -> Tensor:
        """See :func:`effebm_ext.topk_compress`."""
        check_state(x)
        return topk_compress(x, self.entries(row_size(x)))

    def pack(self, c: Tensor) -> PackedEntries:
        """A tensor that this has compressed, or the drift of a transition, as values and indices;
        ``pack(c).unpack()`` is c, bit for bit.

        Args:
            c: float32 or float64 ``(n_chains, *event)``. On CUDA this waits for the device.

        Raises:
            TypeError: c has another dtype.
            ValueError: a chain of c has more entries that are not zero than this keeps.
            RuntimeError: a derivative by c is taken, or c is vmapped.
        """
        check_packable(c)
        return pack_entries(c, self.entries(row_size(c)))

    def vjp(self, u: Tensor, v: Tensor) -> Tensor:
        """``v`` times the derivative of :meth:`compress` at ``u``, a symmetric matrix."""
        return torch.where(self.compress(u) != 0, v, 0)

    def kernel_arguments(self, x: Tensor) -> tuple[int, int, None]:
        """The code, size and offsets by which the fused op knows this compressor, for chains like
        those of ``x``."""
        return _C.COMPRESSOR_TOPK, self.entries(row_size(x)), None


@torch.library.register_fake("effebm::topk_compress")
def _(x: Tensor, k: int) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


torch.library.register_vmap("effebm::topk_compress", rule_by_folding(_COMPRESS))


def topk_compress_reference(x: Tensor, k: int) -> Tensor:
    """The same in plain PyTorch: a stable sort of the magnitudes as integers."""
    rows = x.reshape(x.shape[0], row_size(x))
    integer = {4: torch.int32, 8: torch.int64, 2: torch.int16}[x.element_size()]
    keys = rows.contiguous().abs().view(integer)
    keys = torch.where(rows.isnan(), torch.iinfo(integer).max, keys)
    kept = keys.argsort(dim=1, descending=True, stable=True)[:, :k]
    out = torch.zeros_like(rows, memory_format=torch.contiguous_format)
    return out.scatter(1, kept, rows.gather(1, kept)).reshape(x.shape)
