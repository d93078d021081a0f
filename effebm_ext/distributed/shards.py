"""Which chains a process moves, and how chains go from one number of processes to another.

The noise of a chain depends on its number in the whole, not on the process that moves it, so that
chains have the same bits in any number of processes, given equal gradients.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from effebm_ext.rng import Key
from effebm_ext.scalars import as_int


def shard_of(n: int, rank: int, world_size: int) -> slice:
    """Returns which of ``n`` rows belong to a process: as many to each, in the order of the ranks.

    With parts of equal size, the mean over the processes of their means is the mean of all rows.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: world_size is below 1, rank is not in ``0 <= rank < world_size``, or n is no
            multiple of world_size.
    """
    n, rank, world_size = as_int(n, "n"), as_int(rank, "rank"), as_int(world_size, "world_size")
    if world_size < 1:
        raise ValueError(f"world_size: expected at least 1, got {world_size}")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank: expected 0 <= rank < {world_size}, got {rank}")
    if n < 0 or n % world_size:
        raise ValueError(f"n: expected a multiple of the {world_size} processes, got {n}")
    size = n // world_size
    return slice(rank * size, (rank + 1) * size)


def key_of_shard(key: Key, rows: slice) -> Key:
    """Returns the key by which the chains ``rows`` add the noise that they add in the whole, whose
    key is ``key``. Persistent chains of one process are made by it::

        rows = shard_of(len(x0), rank, world_size)
        chains = PersistentChains(sampler, x0[rows], rng=key_of_shard(key, rows))
    """
    return dataclasses.replace(key, first_chain=key.first_chain + rows.start)


def chains_of_shard(chains: dict[str, Any], rows: slice) -> dict[str, Any]:
    """Returns the chains ``rows`` of the state of all chains, as the state of the chains of one
    process. The tensors are not copied.

    Args:
        chains: what :meth:`effebm_ext.samplers.LangevinState.state_dict` returned, also that of a
            sampler's own state: every tensor in it has a row for every chain.
        rows: from :func:`shard_of`.
    """
    part = {name: _of_rows(value, rows) for name, value in chains.items()}
    return part | {"key": dataclasses.asdict(key_of_shard(Key(**chains["key"]), rows))}


def joined_chains(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the state of all chains from the states of the chains of all processes, in the order
    of their ranks: reverses :func:`chains_of_shard`.

    Raises:
        ValueError: the parts do not follow each other, or have made different numbers of steps.
    """
    first = parts[0]
    begin = first["key"]["first_chain"]
    for part in parts:
        expected = {**first["key"], "first_chain": begin}, first["step"]
        if (part["key"], part["step"]) != expected:
            raise ValueError(
                f"parts: expected key and step {expected}, got {(part['key'], part['step'])}"
            )
        begin += len(part["x"])
    return {name: _joined([part[name] for part in parts]) for name in first}


def _of_rows(value: Any, rows: slice) -> Any:
    if isinstance(value, dict):
        return {name: _of_rows(v, rows) for name, v in value.items()}
    return value[rows] if isinstance(value, Tensor) else value


def _joined(values: list[Any]) -> Any:
    """Joins tensors, also those in dicts; of everything else the first value stays."""
    if isinstance(values[0], dict):
        if any(value.get("zeros") is not None for value in values):
            values = [_with_zeros(value) for value in values]
        return {name: _joined([value[name] for value in values]) for name in values[0]}
    return torch.cat(values) if isinstance(values[0], Tensor) else values[0]


def _with_zeros(signs: dict[str, Any]) -> dict[str, Any]:
    """Returns packed signs with marks of zero entries, which they lack where no entry is zero."""
    if signs["zeros"] is not None:
        return signs
    return {**signs, "zeros": torch.zeros_like(signs["signs"])}
