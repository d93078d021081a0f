"""Rules of the ops for torch.vmap: the axis that it adds is folded into the chains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

Rule = Callable[..., tuple[Any, Any]]


def rule_by_folding(
    op: OpOverload,
    *,
    chains: Sequence[str] = ("x",),
    scalars: Sequence[str] = (),
    key: str | None = None,
    draws: Callable[[Mapping[str, Any]], bool] = lambda arguments: True,
    axes: Sequence[int] = (0,),
) -> Rule:
    """The rule of an op, as torch.library.register_vmap takes it.

    Args:
        op: the op, whose schema has the names of its arguments.
        chains: names of the tensors ``(n_chains, *event)``, the first of which is always given.
        scalars: names of the tensors ``()``, ``(n_chains,)``, ``(1, *event)`` or
            ``(n_chains, *event)``.
        key: name of the key, if the op has one, and
        draws: whether a call with these arguments makes noise by it.
        axes: the axis of each result that the chains are along.
    """
    schema = {a.name: a for a in op._schema.arguments}

    def rule(info: Any, in_dims: tuple[int | None, ...], *given: Any) -> tuple[Any, Any]:
        # PyTorch leaves out arguments that are their defaults.
        arguments: dict[str, Any] = {name: a.default_value for name, a in schema.items()}
        arguments.update(zip(schema, given, strict=False))
        dims = dict.fromkeys(schema) | dict(zip(schema, in_dims, strict=False))
        n = info.batch_size
        if key is not None and draws(arguments) and dims[key] is None:
            if info.randomness == "same" and n > 1:
                return _slice_by_slice(op, n, dims, arguments)
            if info.randomness == "error":
                raise RuntimeError(
                    f"{op._opname} with noise under vmap: expected randomness='different', which "
                    "numbers the chains on from slice to slice, or 'same', got 'error'"
                )
        if key is not None and dims[key] is not None:
            # Drawn anew for each slice: one serves all, as their chains have different numbers.
            arguments[key] = arguments[key].select(dims[key], 0)
        folded = [name for name in (*chains, *scalars) if arguments[name] is not None]
        for name in folded:
            arguments[name] = _slices_in_front(arguments[name], dims[name], n)
        n_chains = arguments[chains[0]].shape[1]
        for name in folded:
            if name in scalars:  # one for all chains, or one each
                values = (
                    arguments[name].unsqueeze(1)
                    if arguments[name].dim() == 1
                    else (arguments[name])
                )
                arguments[name] = values.expand(n, n_chains, *values.shape[2:])
            arguments[name] = arguments[name].flatten(0, 1)
        results = op(*arguments.values())
        if isinstance(results, Tensor):
            return results.unflatten(axes[0], (n, n_chains)), axes[0]
        pairs = zip(results, axes, strict=True)
        return tuple(r.unflatten(axis, (n, n_chains)) for r, axis in pairs), tuple(axes)

    return rule


def _slices_in_front(t: Tensor, dim: int | None, n: int) -> Tensor:
    return t.expand(n, *t.shape) if dim is None else t.movedim(dim, 0)


def _slice_by_slice(
    op: OpOverload, n: int, dims: Mapping[str, int | None], arguments: Mapping[str, Any]
) -> tuple[Any, Any]:
    """Calls the op for each slice, so that all slices take the noise of the same chains."""
    pairs = [(a, dims[name]) for name, a in arguments.items()]
    calls = [op(*(a if d is None else a.select(d, i) for a, d in pairs)) for i in range(n)]
    if isinstance(calls[0], Tensor):
        return torch.stack(calls), 0
    return tuple(torch.stack(parts) for parts in zip(*calls, strict=True)), (0,) * len(calls[0])
