"""Restarts of chains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from effebm_ext.samplers import LangevinState
from effebm_ext.scalars import as_float
from effebm_ext.shown import as_call


def checked(made: Tensor, name: str, n: int, element: Sequence[int] | None = None) -> Tensor:
    """Returns what a function made for n chains: a tensor ``(n, *element)`` and no other, which
    would be broadcast or leave chains without a value. ``element``: None: any.

    Raises:
        ValueError: it has another shape.
    """
    expected = (n, *(made.shape[1:] if element is None else element))
    if made.shape != expected:
        raise ValueError(
            f"{name}: expected a function that gives {n} chains shape {expected}, got "
            f"{tuple(made.shape)}"
        )
    return made


def _keep_all(n: int) -> dict[str, Tensor]:
    return {}


@dataclasses.dataclass
class Restart:
    """Restarts each chain with a given probability (IGEBM re-initialises 5 % of its buffer).

    Attributes:
        probability: the probability of a restart, for every chain at every call, in [0, 1].
        fresh: maps n to n new starts ``(n, *event)``. It is called with the values of
            ``fresh_kwargs`` as keyword arguments, since starts may depend on labels. Only if it
            draws from ``generator``, or from the trainer's, does a checkpoint hold the position of
            its random numbers.
        generator: CPU generator that chooses the chains.
        fresh_kwargs: maps n to new values of energy_kwargs, ``(n, ...)`` each, such as labels;
            chains keep the values that it leaves out.

    Raises:
        ValueError: probability is outside [0, 1].
    """

    probability: float
    fresh: Callable[..., Tensor]
    generator: torch.Generator
    fresh_kwargs: Callable[[int], dict[str, Tensor]] = _keep_all  # no lambda: it can be pickled

    __repr__ = as_call

    def __post_init__(self) -> None:
        self.probability = as_float(self.probability, "probability")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability: expected 0 to 1, got {self.probability}")

    def apply_(self, state: LangevinState) -> None:
        """Puts new starts in the place of some chains; their residuals become zero. If such a
        chain diverges later and the sampler restarts it, it goes back to the new start.

        Raises:
            KeyError: fresh_kwargs names a keyword argument that has no value per chain.
            ValueError: fresh or fresh_kwargs gives another shape than that of the chains.
        """
        chosen = torch.rand(len(state.x), generator=self.generator) < self.probability
        rows = chosen.nonzero()[:, 0]
        if len(rows) == 0:
            return
        values, n = state.values_per_chain(), len(rows)
        fresh_values = self.fresh_kwargs(n)
        for name, value in fresh_values.items():
            checked(value, f"fresh_kwargs: {name}", n, values[name].shape[1:])
        new = self.fresh(n, **fresh_values)
        new = checked(new, "fresh", n, state.x.shape[1:]).to(state.x)
        rows = rows.to(state.x.device)
        state.x[rows] = new
        if state.residual is not None:
            state.residual[rows] = 0
        if state.start is not None:
            state.start[rows] = new
        for name, value in fresh_values.items():
            values[name][rows] = value.to(values[name])

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the generator, for :meth:`load_state_dict`."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from where :meth:`state_dict` was taken.

        Raises:
            KeyError, RuntimeError, TypeError: the state is none of a restart.
        """
        self.generator.set_state(state["generator"])
