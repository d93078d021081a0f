"""A replay buffer: more chains than are moved at a time."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from effebm_ext.chains.restart import Restart, checked
from effebm_ext.chains.storage import Storage
from effebm_ext.rng import Rng
from effebm_ext.samplers import Langevin, LangevinState, Sampler, StepInfo
from effebm_ext.samplers.state import is_per_chain
from effebm_ext.scalars import as_int
from effebm_ext.shown import as_call, short


class ReplayBuffer:
    """Keeps chains in a buffer; every iteration some of them are drawn, moved and put back
    (IGEBM, Du and Mordatch 2019; JEM). Residuals and labels move with their chains.

    Args:
        sampler: any sampler, which moves the chains; its energy is the model in training. All
            chains have the same step size, since a chain is in another row each time.
        x0: the buffer, ``(size, *event)``; copied. Or, with ``size``, a function that maps n to n
            chains: it is asked for a few at a time, so that the buffer is never whole in the dtype
            in which chains move. It is called with the energy_kwargs per chain of these chains as
            keyword arguments, since starts may depend on labels.
        n_chains: the number of chains drawn at a time, without replacement, at most ``size``.
        generator: CPU generator of the draws.
        rng: a Key, a torch.Generator, or None.
        restart: restarts some of the drawn chains; None: no chain ever restarts.
        energy_kwargs: keyword arguments of the energy; values per chain have the first axis
            ``size``.
        size: the number of chains in the buffer; only if x0 is a function.
        storage: how chains are kept while they rest; None: as they move.

    Raises:
        TypeError: the sampler has a step size per chain (:meth:`advance` raises this for a schedule
            that gives one).
        ValueError: n_chains is not between 1 and the size of the buffer; x0 is a function that
            gives another shape than ``(n, *event)``; or the sampler has averaged noise or a
            temperature per chain, which stay with rows and not with chains.
    """

    def __init__(
        self,
        sampler: Sampler[Any],
        x0: Tensor | Callable[..., Tensor],
        *,
        n_chains: int,
        generator: torch.Generator,
        rng: Rng = None,
        restart: Restart | None = None,
        energy_kwargs: Mapping[str, Any] | None = None,
        size: int | None = None,
        storage: Storage | None = None,
    ) -> None:
        if isinstance(x0, Tensor) != (size is None):
            raise TypeError(
                "size: expected the number of chains if and only if x0 is a function, got "
                f"{size} with x0 of type {type(x0).__name__}"
            )
        size = len(x0) if isinstance(x0, Tensor) else as_int(size, "size")
        n_chains = as_int(n_chains, "n_chains")
        if not 1 <= n_chains <= size:
            raise ValueError(
                f"n_chains: expected 1 to {size}, the size of the buffer, got {n_chains}"
            )
        self.sampler, self.n_chains, self.restart = _for_any_row(sampler), n_chains, restart
        self.generator = generator
        self.storage = Storage() if storage is None else storage
        parts = _parts(x0, size, n_chains, dict(energy_kwargs or {}))
        self.buffer: LangevinState = self._filled(size, parts, rng)
        self.state: LangevinState = self._taken(torch.arange(n_chains))

    __repr__ = as_call

    @property
    def x(self) -> Tensor:
        """The chains that :meth:`advance` moved last, ``(n_chains, *event)``."""
        return self.state.x

    @property
    def samples(self) -> Tensor:
        """The chains as samples of the model, ``(n_chains, *event)``
        (:meth:`effebm_ext.samplers.Sampler.samples`)."""
        return self.sampler.samples(self.state)

    def advance(self, n_steps: int) -> StepInfo:
        """Draws chains from the buffer, moves them by ``n_steps`` steps, and puts them back."""
        with torch.inference_mode(False):  # the chains are trained on later
            rows = torch.randperm(len(self.buffer.x), generator=self.generator)[: self.n_chains]
            self.state = self._taken(rows)  # has the buffer's step: no noise is used twice
            if self.restart is not None:
                self.restart.apply_(self.state)
            self.sampler.refresh_(self.state)
            info = self.sampler.advance_(self.state, n_steps)
            self.buffer.put_(rows.to(self.buffer.x.device), self.storage.stored(self.state))
        return info

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that changes, for :meth:`load_state_dict`."""
        saved = {
            **self.state.state_dict(),
            "buffer": self.buffer.state_dict(),
            "generator": self.generator.get_state(),
        }
        if self.restart is not None:
            saved["restart"] = self.restart.state_dict()
        return saved

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from where :meth:`state_dict` was taken.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: the state belongs to other chains.
        """
        buffer = self.buffer.loaded(state["buffer"])
        self.state, self.buffer = self.state.loaded(state), buffer
        if "generator" in state:  # earlier checkpoints have no generators
            self.generator.set_state(state["generator"])
        if self.restart is not None and "restart" in state:
            self.restart.load_state_dict(state["restart"])

    def _taken(self, rows: Tensor) -> LangevinState:
        kept = self.buffer.take(rows.to(self.buffer.x.device))
        return self.storage.fetched(kept, self._device)

    def _filled(
        self, size: int, parts: Iterable[tuple[Tensor, dict[str, Any]]], rng: Rng
    ) -> LangevinState:
        """Returns the buffer of the chains of all parts, which are made one after the other."""
        buffer, begin = None, 0
        for x0, kwargs in parts:
            end = begin + len(x0)
            state = self.sampler.init(x0, rng=rng, energy_kwargs=kwargs)
            kept = self.storage.stored(state)
            if buffer is None:
                self._device, key = x0.device, state.key
                if end == size:
                    return kept
                buffer = kept.mapped(lambda t: t.new_empty(size, *t.shape[1:]))
            buffer.put_(torch.arange(begin, end, device=kept.x.device), kept)
            begin, rng = end, key
        assert buffer is not None  # there is at least one chain
        return buffer


def _parts(
    x0: Tensor | Callable[..., Tensor], size: int, at_most: int, energy_kwargs: dict[str, Any]
) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """Yields the starts of all chains with their keyword arguments, a function's a few at a
    time."""
    if isinstance(x0, Tensor):
        yield x0, energy_kwargs
        return
    event = None
    per_chain = {name: v for name, v in energy_kwargs.items() if is_per_chain(v, size)}
    for begin in range(0, size, at_most):
        end = min(begin + at_most, size)
        values = {name: value[begin:end] for name, value in per_chain.items()}
        starts = checked(x0(end - begin, **values), "x0", end - begin, event)
        event = starts.shape[1:]
        yield starts, {**energy_kwargs, **values}


def _for_any_row(sampler: Sampler[Any]) -> Sampler[Any]:
    """Returns the same sampler, but one that refuses what goes by row, as the rows of chains
    change: a step size or a temperature per chain, and noise that two steps share."""
    if isinstance(sampler, Langevin) and sampler.averaged_noise:
        raise ValueError(
            "sampler: expected no averaged_noise with a buffer, whose chains change their rows "
            "and cannot share noise with the step before"
        )
    if isinstance(sampler, Langevin) and isinstance(sampler.temperature, Tensor):
        raise ValueError(
            "sampler: expected one temperature with a buffer, whose chains change their rows, "
            "got one for each chain"
        )
    step_size = sampler.step_size
    if callable(step_size):
        sampler = copy.copy(sampler)
        sampler.step_size = _OneForAll(step_size)
    else:
        _one(step_size)
    return sampler


@dataclasses.dataclass(frozen=True)
class _OneForAll:
    schedule: Callable[[int], float | Tensor]

    def __repr__(self) -> str:
        return short(self.schedule)

    def __call__(self, step: int) -> float | Tensor:
        return _one(self.schedule(step))


def _one(step_size: float | Tensor) -> float | Tensor:
    if isinstance(step_size, Tensor) and step_size.dim() > 0:
        raise TypeError(
            "step_size: expected one for all chains of a buffer, which move in another place each "
            f"time, got a tensor of shape {tuple(step_size.shape)}"
        )
    return step_size
