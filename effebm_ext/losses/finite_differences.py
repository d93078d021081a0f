"""Derivatives along a direction from values only: forward passes, no graph through x."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from effebm_ext.calls import evaluated
from effebm_ext.energies import check_floating
from effebm_ext.ops.checks import compute_dtype
from effebm_ext.scalars import as_float, as_int
from effebm_ext.train_mode import warn_if_rows_are_coupled

_LARGEST_RELATIVE_ERROR = 0.1
_warned: set[tuple[str, int]] = set()


def directional_derivative(
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    v: Tensor,
    order: int,
    nodes: Sequence[float] | None = None,
) -> Tensor:
    """Returns the derivative of f, of any order, along the unit vector ``v / |v|``. It takes one
    forward pass of ``order + 1`` points per row: ``order! / |v|^order * sum_i beta_i f(x + gamma_i
    v)``.

    The weights solve the Vandermonde system ``sum_i beta_i gamma_i^k = (k == order)`` for k = 0 to
    order. So the result is exact, except for rounding, if f is a polynomial of this degree along v
    (arXiv 2007.03317). Otherwise the error is O(|v|), and O(|v|^2) if the nodes are symmetric about
    0. The result is differentiable with respect to the parameters of f.

    Args:
        f: maps ``(m, *event)`` to ``(m, *values)``.
        x: ``(n, *event)``.
        v: ``(n, *event)``; the norm of a row is the size of its differences. A row of zeros has no
            direction, and its derivative is not finite.
        order: how often f is differentiated, at least 1.
        nodes: gamma, ``order + 1`` different finite numbers; None: equally spaced from -1 to 1.

    Returns:
        ``(n, *values)``, float32 (float64 for float64 values).

    Raises:
        TypeError: order is no int, or a node no number.
        ValueError: order is below 1; there are not ``order + 1`` nodes, or they are not different
            or not finite; v has another shape than x.
    """
    order = as_int(order, "order")
    if order < 1:
        raise ValueError(f"order: expected at least 1, got {order}")
    if nodes is None:
        nodes = [2 * i / order - 1 for i in range(order + 1)]
    nodes = [as_float(node, "nodes") for node in nodes]
    finite = all(map(math.isfinite, nodes))
    if len(nodes) != order + 1 or len(set(nodes)) != len(nodes) or not finite:
        raise ValueError(f"nodes: expected {order + 1} different finite numbers, got {nodes}")
    if v.shape != x.shape:
        raise ValueError(f"v: expected the shape of x, {tuple(x.shape)}, got {tuple(v.shape)}")
    values = evaluate(f, torch.stack([x + gamma * v for gamma in nodes]), "f")
    values = values.to(compute_dtype(values.dtype))
    # This is the last row of the inverse of a Vandermonde matrix, in closed form.
    beta = [1 / math.prod(g - other for other in nodes if other != g) for g in nodes]
    total = sum(b * value for b, value in zip(beta[1:], values[1:], strict=True))
    total = beta[0] * values[0] + total
    norm = v.to(values.dtype).reshape(len(x), -1).norm(dim=1)
    return math.factorial(order) * total / norm.reshape(-1, *[1] * (total.dim() - 1)) ** order


def evaluate(
    network: Callable[..., Tensor],
    parts: Tensor,
    name: str,
    network_kwargs: Mapping[str, Any] | None = None,
    *,
    concatenated: bool = True,
) -> Tensor:
    """Returns the values ``(m, n, *values)`` of a network at ``parts`` ``(m, n, *event)``.

    Args:
        network: maps ``(rows, *event)`` to ``(rows, *values)``.
        parts: m versions of a batch.
        name: how errors call the network.
        network_kwargs: keyword arguments of the network. Tensors whose first axis is n are values
            per row and are repeated for every version.
        concatenated: make one forward pass of all ``m * n`` rows; else m passes of n rows, each
            made again in the backward pass, which then holds the memory of one pass at a time.

    Raises:
        TypeError: the network returns no floating-point tensor.
        ValueError: the network returns another number of rows.
    """
    warn_if_rows_are_coupled(network)
    m, n = parts.shape[:2]
    kwargs = dict(network_kwargs or {})
    if not concatenated:
        values = [
            checkpoint(evaluated, network, part, use_reentrant=False, **kwargs) for part in parts
        ]
        return torch.stack([_checked(value, n, name) for value in values])
    for key, value in kwargs.items():
        if isinstance(value, Tensor) and value.shape[:1] == (n,):
            kwargs[key] = value.repeat(m, *[1] * (value.dim() - 1))
    together = evaluated(network, parts.flatten(0, 1), **kwargs)
    return _checked(together, m * n, name).unflatten(0, (m, n))


def _checked(values: Tensor, rows: int, name: str) -> Tensor:
    check_floating(values, name)
    if values.shape[:1] != (rows,):
        raise ValueError(
            f"{name}: expected a value for each of {rows} rows, got shape {tuple(values.shape)}"
        )
    return values


def warn_if_imprecise(
    what: str, magnitude: Tensor, difference: Tensor, epsilon: float, dtype: torch.dtype
) -> None:
    """Warns, once for every line that calls the caller, if rounding takes much of a difference.

    Args:
        what: names the values whose difference is taken.
        magnitude: the size of the values, any shape.
        difference: their differences, any shape.
        epsilon: the size of the step.
        dtype: the dtype in which the network returned the values.
    """
    if torch.compiler.is_compiling():
        return
    frame = sys._getframe(2)
    place = (frame.f_code.co_filename, frame.f_lineno)
    if place in _warned:
        return
    size = float(magnitude.detach().abs().mean())
    rounding, differs = torch.finfo(dtype).eps * size, float(difference.detach().abs().mean())
    if not rounding > _LARGEST_RELATIVE_ERROR * differs:
        return
    _warned.add(place)
    error = rounding / differs if differs else math.inf
    warnings.warn(
        f"epsilon {epsilon:g} is too small for {what} of magnitude {size:.3g} in {dtype}: the "
        f"relative error of its differences, which are {differs:.2g}, is about {error:.2g}. "
        "Take a larger epsilon, a wider dtype, or smaller energies.",
        RuntimeWarning,
        stacklevel=3,
    )
