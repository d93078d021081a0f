"""How a replay buffer keeps its chains while they rest: in how many bytes, and where."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import torch
from torch import Tensor

from effebm_ext.limits import Clamp
from effebm_ext.ops.stochastic_round import check_limits, from_codes, stochastic_round
from effebm_ext.rng import ROUNDING, STORAGE, Key
from effebm_ext.samplers import LangevinState
from effebm_ext.shown import as_call

State = TypeVar("State", bound=LangevinState)

# The dtype of the residuals by the dtype of the states. Residuals have no limits, so no codes.
_RESIDUALS = {
    torch.bfloat16: torch.bfloat16,
    torch.float16: torch.bfloat16,
    torch.uint8: torch.float8_e5m2,
}


@dataclasses.dataclass(frozen=True)
class Storage:
    """Says how chains are kept while they rest. They move as float32 if a dtype is given.

    States and residuals are rounded stochastically, so that small steps are not lost
    (:func:`effebm_ext.stochastic_round`). Every rounding adds a little noise to a chain, so a
    sampler that is exact is so between two of them.

    Attributes:
        dtype: of the states: bfloat16, float16, or uint8 for codes between the limits; their
            residuals are kept as bfloat16, bfloat16 and float8_e5m2. None: as they move.
        limits: ``(lower, upper)`` of the codes; only for uint8. States outside become the nearest
            limit, and NaN becomes the lower one.
        device: where they are kept; None: where they move. From the host to a CUDA device they go
            through pinned memory, so that the copy does not wait.

    Raises:
        TypeError: dtype is another one.
        ValueError: limits are missing for uint8, or given for another dtype.
    """

    dtype: torch.dtype | None = None
    limits: Clamp | tuple[float, float] | None = None
    device: torch.device | str | None = None

    __repr__ = as_call

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in _RESIDUALS:
            raise TypeError(f"dtype: expected bfloat16, float16, uint8 or None, got {self.dtype}")
        check_limits(self.dtype, self.limits)

    def stored(self, state: State) -> State:
        """Returns chains as they are kept. The step of the state and the row name the random words.

        Raises:
            TypeError: a dtype is given, and the states are not float32.
        """
        key = state.key.at(state.step)
        if self.dtype is not None:
            state = dataclasses.replace(
                state,
                x=self._rounded(state.x, key),
                start=None if state.start is None else self._rounded(state.start, key),
                residual=None if state.residual is None else self._short(state.residual, key),
            )
        return state if self.device is None else state.to(self.device)

    def fetched(self, kept: State, device: torch.device) -> State:
        """Reverses :meth:`stored`: returns chains as they move on ``device``."""
        if device.type == "cuda" and kept.x.is_cpu:
            kept = kept.mapped(Tensor.pin_memory)
        state = kept.to(device)
        if self.dtype is None:
            return state
        return dataclasses.replace(
            state,
            x=self._widened(state.x),
            start=None if state.start is None else self._widened(state.start),
            residual=None if state.residual is None else state.residual.float(),
        )

    def _rounded(self, x: Tensor, key: Key) -> Tensor:
        assert self.dtype is not None
        return stochastic_round(x, self.dtype, rng=key, limits=self.limits, purpose=STORAGE)

    def _short(self, residual: Tensor, key: Key) -> Tensor:
        assert self.dtype is not None
        return stochastic_round(residual, _RESIDUALS[self.dtype], rng=key, purpose=ROUNDING)

    def _widened(self, x: Tensor) -> Tensor:
        return x.float() if self.limits is None else from_codes(x, self.limits)
