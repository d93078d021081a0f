"""The virial of single chains, whose mean tells whether they are samples of their energy."""

from __future__ import annotations

from torch import Tensor

from effebm_ext.ops.checks import compute_dtype, row_size


def virials(x: Tensor, gradient: Tensor, centre: Tensor | None = None) -> Tensor:
    """Returns ``(x - m) . grad E(x) / d`` of every chain, ``(n_chains,)``, float32 (float64 for
    float64 states).

    Args:
        x: the chains, ``(n_chains, *event)`` of d elements each.
        gradient: the gradient of the energy there, x's shape.
        centre: m, ``(*event)``; None: 0.

    Raises:
        ValueError: gradient or centre has another shape.
    """
    if gradient.shape != x.shape:
        raise ValueError(
            f"gradient: expected the shape of x, {tuple(x.shape)}, got {tuple(gradient.shape)}"
        )
    dtype = compute_dtype(x.dtype)
    away = x.to(dtype)
    if centre is not None:
        if centre.shape != x.shape[1:]:
            raise ValueError(
                f"centre: expected the shape of a chain, {tuple(x.shape[1:])}, "
                f"got {tuple(centre.shape)}"
            )
        away = away - centre.to(dtype)
    d = row_size(x)
    return (away * gradient.to(dtype)).reshape(len(x), d).sum(1) / max(1, d)
