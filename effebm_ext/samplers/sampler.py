"""The base class of samplers, which chains, buffers and training rely on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from torch import Tensor

from effebm_ext.rng import Rng
from effebm_ext.samplers.divergence import OnDivergence
from effebm_ext.samplers.state import LangevinState, Run, StepInfo
from effebm_ext.samplers.step_size import StepSize
from effebm_ext.scalars import as_int
from effebm_ext.shown import as_call

State = TypeVar("State", bound=LangevinState)


class Sampler(ABC, Generic[State]):
    """Moves many Markov chains at once.

    A subclass defines :meth:`init` and :meth:`advance_`, and :meth:`refresh_` if its states keep
    something of the energy; the other methods follow. The state holds everything that the next step
    depends on, so that states can be saved, split and joined.

    Attributes:
        step_size: gamma; see :data:`effebm_ext.samplers.step_size.StepSize`.
        on_divergence: what happens to chains that diverge: keep, raise or restart.
    """

    step_size: StepSize
    on_divergence: OnDivergence = "keep"

    __repr__ = as_call

    @abstractmethod
    def init(
        self, x0: Tensor, *, rng: Rng = None, energy_kwargs: Mapping[str, Any] | None = None
    ) -> State:
        """Returns a state at a copy of ``x0``.

        Args:
            x0: the chains, ``(n_chains, *event)``.
            rng: a Key; from a generator, or torch's default one for None, a key is drawn once.
            energy_kwargs: keyword arguments of the energy, or of the score. Tensors whose first
                axis is n_chains are values per chain and are copied, without their graph. A
                tensor that all chains share should be bound to the energy (functools.partial), as
                a tensor with n_chains rows would be taken for values per chain.

        Raises:
            TypeError: x0 is no floating-point tensor, or rng or energy_kwargs of another kind.
        """

    @abstractmethod
    def advance_(self, state: State, n_steps: int = 1) -> StepInfo:
        """Moves ``state`` by ``n_steps`` in place; returns what the last step saw. With no step all
        fields are None."""

    def refresh_(self, state: State) -> None:
        """Updates what the state keeps of the energy, after its parameters have changed or chains
        have been put elsewhere. In this class a state keeps nothing."""

    def samples(self, state: State) -> Tensor:
        """Returns the chains as samples of the target, ``(n_chains, *event)``. In this class they
        are the states themselves."""
        return state.x

    def step(self, state: State) -> tuple[State, StepInfo]:
        """Makes one step and leaves the given state as it is. Loops that do not need it any more
        use :meth:`advance_`, which saves the copy."""
        new_state = state.clone()
        return new_state, self.advance_(new_state)

    def sample(
        self,
        x0: Tensor,
        n_steps: int,
        *,
        rng: Rng = None,
        energy_kwargs: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Returns :meth:`samples` ``(n_chains, *event)`` after ``n_steps`` steps from ``x0``."""
        n_steps = checked_steps(n_steps)
        state = self.init(x0, rng=rng, energy_kwargs=energy_kwargs)
        self._advance_to_end_(state, n_steps)
        return self.samples(state)

    def _advance_to_end_(self, state: State, n_steps: int) -> None:
        """Moves a state that is not moved again, so that a sampler may look where it ended."""
        self.advance_(state, n_steps)

    def run(
        self,
        x0: Tensor,
        n_steps: int,
        *,
        thin: int = 1,
        rng: Rng = None,
        energy_kwargs: Mapping[str, Any] | None = None,
    ) -> Run:
        """Samples like :meth:`sample`, keeping samples of every ``thin``-th step and what it saw.

        Raises:
            ValueError: n_steps is negative, or thin is not between 1 and n_steps.
        """
        n_steps, thin = checked_steps(n_steps), checked_thin(thin, n_steps)
        state = self.init(x0, rng=rng, energy_kwargs=energy_kwargs)
        kept = state.x.new_empty(n_steps // thin, *state.x.shape)
        infos = []
        for i in range(len(kept)):
            infos.append(self.advance_(state, thin))
            kept[i] = self.samples(state)
        self.advance_(state, n_steps % thin)
        return Run(self.samples(state), kept, StepInfo.stack(infos))


def checked_steps(n_steps: int) -> int:
    n_steps = as_int(n_steps, "n_steps")
    if n_steps < 0:
        raise ValueError(f"n_steps: expected at least 0, got {n_steps}")
    return n_steps


def checked_thin(thin: int, n_steps: int) -> int:
    thin = as_int(thin, "thin")
    if not 1 <= thin <= max(1, n_steps):
        raise ValueError(f"thin: expected 1 <= thin <= {n_steps}, got {thin}")
    return thin
