"""topk_compress: keep the k entries of largest magnitude of every row."""

from __future__ import annotations

import torch
from torch import Tensor

from effebm_ext import _C  # noqa: F401  (registers the op)
from effebm_ext.ops.checks import check_not_differentiated, check_state, row_size


def topk_compress(x: Tensor, k: int) -> Tensor:
    """Keep exactly the ``k`` entries of largest magnitude of every row, zero the rest.

    Ties go to the lower index; ``-0`` equals ``+0``, denormals count, NaN ranks above infinity.
    Top-k sparsification as in EFF-EBM, Algorithm 1.

    Args:
        x: float32, float64 or bfloat16 ``(n_chains, *event)``, any strides.
        k: entries to keep per row, ``0 <= k <= d`` with ``d`` the elements of a row.

    Returns:
        A new contiguous tensor of x's shape and dtype.

    Raises:
        TypeError: x is not a tensor of one of these dtypes, or k is not an int.
        ValueError: k is out of range, or x has no axes.
        RuntimeError: x requires grad, or is on a device this build has no kernels for.
    """
    check_state(x)
    check_k(k, row_size(x))
    check_not_differentiated("topk_compress", x)
    return torch.ops.effebm.topk_compress(x, k)


def check_k(k: int, dim: int) -> None:
    if not isinstance(k, (int, torch.SymInt)) or isinstance(k, bool):
        raise TypeError(f"k: expected an int, got {type(k).__name__}")
    if not 0 <= k <= dim:
        raise ValueError(f"k: expected 0 <= k <= {dim}, the elements of a row, got {k}")


@torch.library.register_fake("effebm::topk_compress")
def _(x: Tensor, k: int) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def topk_compress_reference(x: Tensor, k: int) -> Tensor:
    """The same in plain PyTorch: a stable sort of the magnitudes as integers."""
    rows = x.reshape(x.shape[0], row_size(x))
    integer = {4: torch.int32, 8: torch.int64, 2: torch.int16}[x.element_size()]
    keys = rows.contiguous().abs().view(integer)
    keys = torch.where(rows.isnan(), torch.iinfo(integer).max, keys)
    kept = keys.argsort(dim=1, descending=True, stable=True)[:, :k]
    out = torch.zeros_like(rows, memory_format=torch.contiguous_format)
    return out.scatter(1, kept, rows.gather(1, kept)).reshape(x.shape)
