"""What walkers share: chains that begin anew, and states that are saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from effebm_ext.rng import Key
from effebm_ext.samplers import Langevin, LangevinState
from effebm_ext.scalars import as_float


def _keep_all(n: int) -> dict[str, Tensor]:
    return {}


@dataclasses.dataclass
class Restart:
    """Begins each chain anew with a given probability (IGEBM re-initialises 5 % of its buffer).

    Attributes:
        probability: of every chain, each time it is asked, in [0, 1].
        fresh: maps n to n new starts ``(n, *event)``.
        generator: CPU generator that decides.
        fresh_kwargs: maps n to new values of energy_kwargs, ``(n, ...)`` each, such as labels; what
            it leaves out, chains keep.

    Raises:
        ValueError: probability is outside [0, 1].
    """

    probability: float
    fresh: Callable[[int], Tensor]
    generator: torch.Generator
    fresh_kwargs: Callable[[int], dict[str, Tensor]] = _keep_all  # no lambda: it can be pickled

    def __post_init__(self) -> None:
        self.probability = as_float(self.probability, "probability")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability: expected 0 to 1, got {self.probability}")

    def apply_(self, state: LangevinState) -> None:
        """Puts new starts in the place of some chains; their residuals become zero. It is there
        that they go back to if they diverge and the sampler restarts such chains.

        Raises:
            KeyError: fresh_kwargs names something of which the chains have no value each.
        """
        chosen = torch.rand(len(state.x), generator=self.generator) < self.probability
        rows = chosen.nonzero()[:, 0]
        if len(rows) == 0:
            return
        new = self.fresh(len(rows)).to(state.x)
        rows = rows.to(state.x.device)
        state.x[rows] = new
        if state.residual is not None:
            state.residual[rows] = 0
        if state.start is not None:
            state.start[rows] = new
        values = state.values_per_chain()
        for name, value in self.fresh_kwargs(len(rows)).items():
            values[name][rows] = value.to(values[name])


def check_sampler(sampler: object) -> None:
    """Refuses samplers that keep energies with their chains: these would stay as they were while
    parameters change and chains begin anew."""
    if not isinstance(sampler, Langevin):
        raise TypeError(
            "sampler: expected effebm_ext.Langevin (WeightedWalkers take MALA too), "
            f"got {type(sampler).__name__}"
        )


def state_dict(state: LangevinState) -> dict[str, Any]:
    """Plain tensors and numbers, for a checkpoint; the tensors are no copies. Of the energy_kwargs
    those with a value per chain; the others do not change."""
    saved = {
        "x": state.x,
        "residual": state.residual,
        "key": dataclasses.asdict(state.key),
        "step": state.step,
        "energy_kwargs": state.values_per_chain(),
    }
    if state.start is not None:
        saved["start"] = state.start
    return saved


def load_state(saved: dict[str, Any], like: LangevinState) -> LangevinState:
    """A copy of the state that :func:`state_dict` was made of, on the device of ``like``.

    Raises:
        KeyError, TypeError: something is missing.
        ValueError: the chains are others than those of ``like``.
    """
    x, residual = saved["x"], saved["residual"]
    if x.shape != like.x.shape:
        raise ValueError(f"chains: expected shape {tuple(like.x.shape)}, got {tuple(x.shape)}")
    if (residual is None) != (like.residual is None):
        raise ValueError("chains: expected a residual if and only if the sampler has one")
    values, own = saved["energy_kwargs"], like.values_per_chain()
    if _shapes(values) != _shapes(own):
        raise ValueError(
            f"chains: expected energy_kwargs of the shapes {_shapes(own)}, got {_shapes(values)}"
        )
    device = like.x.device
    start = None if like.start is None else saved["start"].to(device, copy=True)
    if start is not None and start.shape != x.shape:
        raise ValueError(f"chains: expected start {tuple(x.shape)}, got {tuple(start.shape)}")
    return LangevinState(
        x.to(device, copy=True),
        None if residual is None else residual.to(device, copy=True),
        Key(**saved["key"]),
        saved["step"],
        {**like.energy_kwargs, **{n: v.to(own[n].device, copy=True) for n, v in values.items()}},
        start,
    )


def _shapes(values: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in values.items()}
