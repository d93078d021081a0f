"""Reading of data from a .npy or .npz file of NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def read_arrays(path: Path, *, labels: bool = False) -> tuple[Tensor, Tensor | None]:
    """Reads the array of a file, or the array named ``x`` if a .npz file has several; with
    ``labels`` also the array named ``y``.

    Returns:
        float32 ``(n, *event)``, and int64 ``(n,)`` or None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read; the array has fewer than two axes, no rows, no numbers,
            or values that are not finite; the labels are missing, or are not integers ``(n,)``.
    """
    arrays = _load(path)
    x = _values(path, arrays["x"] if "x" in arrays else next(iter(arrays.values())))
    return x, _labels(path, arrays.get("y"), len(x)) if labels else None


def _load(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        raise FileNotFoundError(f"data: no such file: {path}")
    try:
        content = np.load(path, allow_pickle=False)
        arrays = {"x": content} if isinstance(content, np.ndarray) else dict(content)
    except Exception as error:  # numpy's readers raise a dozen kinds
        raise ValueError(f"data: {path} is not a readable {path.suffix} file: {error}") from error
    if len(arrays) != 1 and "x" not in arrays:
        raise ValueError(f"data: expected one array in {path}, or one named x, got {list(arrays)}")
    return arrays


def _values(path: Path, array: np.ndarray) -> Tensor:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        kind = getattr(array, "dtype", type(array).__name__)
        raise ValueError(f"data: expected numbers in {path}, got dtype {kind}")
    if array.ndim < 2 or array.size == 0:
        raise ValueError(
            f"data: expected an array (n, *event) with n >= 1 in {path}, got shape {array.shape}"
        )
    with np.errstate(over="ignore"):
        x = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise ValueError(
            f"data: expected finite values in {path}, got {bad} that are not, as float32"
        )
    return x


def _labels(path: Path, array: np.ndarray | None, n: int) -> Tensor:
    if array is None:
        raise ValueError(f"data: expected labels in {path}: a .npz file with an array named y")
    if array.dtype.kind not in "iu" or array.shape != (n,):
        raise ValueError(
            f"data: expected integer labels y of shape ({n},) in {path}, "
            f"got {array.dtype} of shape {array.shape}"
        )
    return torch.from_numpy(array.astype(np.int64))
