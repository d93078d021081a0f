"""Calls of energies and scores, which may use autograd for themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def evaluated(function: Callable[..., Tensor], x: Tensor, /, **kwargs: Any) -> Tensor:
    """Returns ``function(x, **kwargs)`` at ``x`` ``(n, *event)``, with a graph of the parameters
    unless grad mode is off.

    A function that turns out to use autograd for itself, such as the squared norm of a gradient, is
    called once more, with an x that asks for its gradient. torch.compile does not trace this. A
    ValueError tells of a function that writes into x.
    """
    if x.requires_grad or torch.compiler.is_compiling():
        return function(x, **kwargs)
    try:
        return _unwritten(function, x, kwargs)
    except RuntimeError as error:
        if not _uses_autograd(error):
            raise
    return _with_grad_mode(function, x, kwargs, keep_graph=torch.is_grad_enabled())


class WithoutGraph:
    """Calls functions of ``x`` ``(n, *event)``, energies or scores, without building a graph.

    A function that turns out to use autograd for itself is called once more with grad mode on. From
    then on every function is called with grad mode on at once. A ValueError tells of a function
    that writes into x.
    """

    def __init__(self) -> None:
        self._enable_grad = False

    def __call__(
        self,
        function: Callable[..., Tensor],
        x: Tensor,
        energy_kwargs: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Returns ``function(x, **energy_kwargs)``."""
        if not self._enable_grad:
            try:
                with torch.no_grad():
                    return _unwritten(function, x.detach(), energy_kwargs or {})
            except RuntimeError as error:
                if not _uses_autograd(error):
                    raise
                self._enable_grad = True
        return _with_grad_mode(function, x, energy_kwargs, keep_graph=False)


def as_leaf(x: Tensor, kwargs: Mapping[str, Any] | None) -> tuple[Tensor, dict[str, Any]]:
    """Returns a leaf of autograd with the values of x, and keyword arguments for autograd."""
    copies = {name: for_autograd(value) for name, value in (kwargs or {}).items()}
    return for_autograd(x.detach()).requires_grad_(), copies


def for_autograd(value: Any) -> Any:
    """Returns a value that autograd can save: a copy of a tensor made in inference mode."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def _unwritten(function: Callable[..., Tensor], x: Tensor, kwargs: Mapping[str, Any]) -> Tensor:
    """Returns ``function(x, **kwargs)``.

    Raises:
        ValueError: the function writes into x, which is the memory of chains or of noisy data. (If
            x asks for its gradient, autograd raises an error of its own.)
    """
    if torch.compiler.is_compiling() or x.is_inference():  # which have no version
        return function(x, **kwargs)
    version = x._version
    values = function(x, **kwargs)
    if x._version != version:
        raise ValueError(
            "x: expected an energy or a score that leaves its argument as it is, got one that "
            "writes into it; let it work on a copy"
        )
    return values


def _uses_autograd(error: RuntimeError) -> bool:
    """Says whether an error is that of a derivative by what asks for no gradient."""
    return "does not require grad" in str(error)


def _with_grad_mode(
    function: Callable[..., Tensor],
    x: Tensor,
    kwargs: Mapping[str, Any] | None,
    *,
    keep_graph: bool,
) -> Tensor:
    with torch.inference_mode(False), torch.enable_grad():
        leaf, own = as_leaf(x, kwargs)
        values = function(leaf, **own)
    return values.detach() if isinstance(values, Tensor) and not keep_graph else values
