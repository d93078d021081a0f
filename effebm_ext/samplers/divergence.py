"""Chains that diverge: how a sampler notices them, and what becomes of them.

A chain has diverged where its energy (of a sampler with a score: its score) or its state is NaN or
infinite: it has left the support of the density, or overflowed. Energies are looked at where a step
begins. :meth:`effebm_ext.Langevin.sample` and ``run`` find those of the last states too, by one
evaluation more; ``advance_`` only looks whether the last states are finite, and its next call sees
the rest. :class:`~effebm_ext.samplers.StepInfo` says which chains have diverged. What is done:

* ``keep`` leaves them as they are, and warns once. A chain may come back by itself, but not from
  NaN.
* ``raise`` raises a :class:`~effebm_ext.NonFiniteError`. The state stays as it then is.
* ``restart`` warns once, and puts them back to their ``x0`` with a residual of zero, in the step in
  which they are noticed; they go on with the noise of later steps, and keep their labels. Every
  call of ``advance_`` then evaluates the energy once more at its end, so that it leaves no chain
  where the energy is not finite, but for chains whose start is such a place. It takes memory for
  the starts.

The other chains move as they would have without these. What is not noticed is a finite energy
outside the support, and a chain on its way to overflow.

On a GPU the numbers are looked at once in every call of a sampler, at its end, so that no step
waits; on the CPU ``raise`` comes at the very step.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from effebm_ext.energies import NonFiniteError
from effebm_ext.samplers.state import LangevinState, StepInfo
from effebm_ext.samplers.step_size import NOT_POSITIVE, all_positive, positive
from effebm_ext.warn import warn

OnDivergence = Literal["keep", "raise", "restart"]


def are_finite(values: Tensor) -> Tensor:
    """Whether all values of a chain are finite, bool ``(n_chains,)``, for ``(n_chains, ...)``."""
    if values.dim() == 1:
        return values.abs() < math.inf  # NaN is not
    if values.numel() == 0:
        return torch.ones(len(values), dtype=torch.bool, device=values.device)
    return torch.linalg.vector_norm(values.flatten(1), math.inf, dim=1) < math.inf


class Divergence:
    """What is done about chains that have diverged: ``raise`` raises, ``keep`` and ``restart`` warn
    once in the life of a sampler.

    Args:
        on_divergence: keep, raise or restart.
        advice: what the caller can change, in a sentence.

    Raises:
        ValueError: on_divergence is none of these.
    """

    def __init__(self, on_divergence: OnDivergence, advice: str) -> None:
        names = get_args(OnDivergence)
        if on_divergence not in names:
            raise ValueError(f"on_divergence: expected {', '.join(names)}, got {on_divergence!r}")
        self.on_divergence, self.advice = on_divergence, advice
        self.warned = False

    def report(self, diverged: Tensor, when: str, **seen: Tensor) -> None:
        """Raises or warns if a chain has diverged. Waits for a GPU, but not after it has warned.

        Args:
            diverged: bool ``(n_chains,)``.
            when: the steps, in words.
            seen: what may not be finite, ``(n_chains, ...)`` by name.

        Raises:
            NonFiniteError: chains have diverged, and on_divergence is raise.
        """
        if self.warned or not is_readable(diverged):
            return
        count = int(diverged.sum())
        if count == 0:
            return
        text = f"{count} of {len(diverged)} chains diverged {when}{_example(seen)}. {self.advice}"
        if self.on_divergence == "raise":
            raise NonFiniteError(text)
        self.warned = True
        warn(text)


def _example(seen: dict[str, Tensor]) -> str:
    for name, values in seen.items():
        rows = (~are_finite(values)).nonzero()[:, 0].tolist()
        if rows:
            row = values[rows[0]].flatten()
            return f": the {name} of chain {rows[0]} is {float(row[~row.isfinite()][0])}"
    return ""


class Watch:
    """Looks out for chains that diverge during one call of a sampler, which may make many steps.

    Args:
        divergence: what to do.
        name: of the values that are watched: energy or score.
        state: before the first step.
    """

    def __init__(self, divergence: Divergence, name: str, state: LangevinState) -> None:
        self._divergence, self._name, self._first = divergence, name, state.step
        self._values: dict[str, Tensor] = {}  # of the last step
        self._finite: Tensor | None = None  # bool (n_chains,), in all steps so far
        self._positive: Tensor | None = None  # bool (), all step sizes so far

    @property
    def any_step(self) -> bool:
        """Whether a step was made."""
        return self._finite is not None

    def step_size(self, value: Any, step: int) -> float | Tensor:
        """The step size that a schedule gave, checked; tensors on a GPU are in :meth:`end`.

        Raises:
            TypeError: it is neither a number nor a tensor.
            ValueError: it is not positive and finite.
        """
        if not isinstance(value, Tensor):
            return positive(value)
        valid = all_positive(value)
        if not value.is_cpu:
            self._positive = valid if self._positive is None else self._positive & valid
        elif not bool(valid):
            raise ValueError(f"{NOT_POSITIVE} at step {step}")
        return value

    def step(self, state: LangevinState, values: Tensor) -> Tensor:
        """Which chains, bool ``(n_chains,)``, had finite ``values`` where the step began that
        ``state`` has just made. ``state.step`` is still the step's number.

        Raises:
            NonFiniteError: as :meth:`Divergence.report`.
        """
        finite = are_finite(values)
        self._values = {self._name: values}
        what = self._divergence.on_divergence
        if what == "keep" or _all_of_cpu(finite):
            return finite
        if what == "restart":
            state.begin_anew_(~finite)
        elif finite.is_cpu:
            self._divergence.report(~finite, f"at step {state.step}", **self._values)
        return finite

    def window(self, info: StepInfo, finite: Tensor) -> StepInfo:
        """The info of the last of some steps, with the chains that were not finite in all."""
        self._finite = finite if self._finite is None else self._finite & finite
        return info._replace(diverged=~finite)

    def end(self, state: LangevinState, energy: Tensor | None = None) -> Tensor | None:
        """Looks at where the last step went, and says what was seen in the whole call.

        Args:
            state: after the last step.
            energy: there, where it was asked for.

        Returns:
            Which chains the last step has led astray, bool ``(n_chains,)``; None: there was none.

        Raises:
            ValueError: step sizes of a schedule were not positive and finite.
            NonFiniteError: as :meth:`Divergence.report`.
        """
        if self._finite is None:  # no step was made
            return None
        first, last = self._first, state.step - 1
        when = f"at step {last}" if first == last else f"in steps {first} to {last}"
        positive = self._positive
        if positive is not None and is_readable(positive) and not bool(positive):
            raise ValueError(f"{NOT_POSITIVE} {when}")
        finite = are_finite(state.x)
        if energy is not None:
            finite = finite & are_finite(energy)
            self._values = {self._name: energy}
        diverged = ~(self._finite & finite)
        self._divergence.report(diverged, when, **self._values, state=state.x)
        if self._divergence.on_divergence == "restart" and not _all_of_cpu(finite):
            state.begin_anew_(~finite)
        return ~finite


def _all_of_cpu(finite: Tensor) -> bool:
    """Whether all are known to be finite: a GPU is not waited for."""
    return finite.is_cpu and bool(finite.all())


def is_readable(t: Tensor) -> bool:
    """Whether Python may look at the values of a tensor."""
    if t.is_meta or torch.compiler.is_compiling():
        return False
    return not (t.is_cuda and torch.cuda.is_current_stream_capturing())
