"""Chains that diverge: how a sampler notices them, and what becomes of them.

A chain has diverged if its energy (for a sampler with a score: its score) or its state is NaN or
infinite: it has left the support of the density, or overflowed. The energies where a step begins
are checked. :meth:`effebm_ext.Langevin.sample` and ``run`` check the last states too, by one more
evaluation of the energy; ``advance_`` only checks that the last states are finite, and its next
call checks the rest. :class:`~effebm_ext.samplers.StepInfo` says which chains have diverged.
``on_divergence`` says what happens to them:

* ``keep`` leaves them as they are, and warns once. A chain may come back by itself, but not from
  NaN.
* ``raise`` raises a :class:`~effebm_ext.NonFiniteError`. The state stays as it then is.
* ``restart`` warns once, and puts them back to their ``x0`` with a residual of zero. The step in
  which they are noticed does nothing else to them; they continue with the noise of later steps, and
  keep their labels. Every call of ``advance_`` evaluates the energy once more at its end, so that
  it leaves no chain where the energy is not finite, except chains that start in such a place.
  (Chains are noticed a step earlier there. So for chains that restart, many steps in one call and
  in several calls differ in bits.) Restarts take memory for the starts.

The other chains move as if no chain had diverged. A finite energy outside the support, and a chain
on its way to overflow, are not noticed.

Every call of a sampler checks numbers once, at its end, so that no step waits for a GPU; on the CPU
``raise`` comes at most some 64 steps after the step that it names.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from effebm_ext.energies import NonFiniteError
from effebm_ext.ops.checks import compute_dtype
from effebm_ext.samplers.state import LangevinState
from effebm_ext.samplers.step_size import NOT_POSITIVE, all_positive
from effebm_ext.scalars import as_positive
from effebm_ext.warn import warn

OnDivergence = Literal["keep", "raise", "restart"]
_FOLDED = 64  # steps whose probes are checked at the same time


def probe(values: Tensor) -> Tensor:
    """Returns a number per chain, ``(n_chains,)``, that is finite if all values of the chain in
    ``(n_chains, ...)`` are finite."""
    if values.dim() == 1:
        return values
    if values.numel() == 0:
        return values.new_zeros(len(values))
    return torch.linalg.vector_norm(values, math.inf, dim=tuple(range(1, values.dim())))


def not_finite(probes: Tensor) -> Tensor:
    """Says which probes are NaN or infinite: bool, of the same shape."""
    return ~(probes.abs() < math.inf)


def surely_finite(*tensors: Tensor) -> bool:
    """Returns True only if all values are finite. It checks their sums, which takes little time but
    may overflow, so False means perhaps. Waits for a GPU."""
    if not is_readable(tensors[0]):
        return False
    sums = (t.sum(dtype=compute_dtype(t.dtype)) for t in tensors)
    return all(math.isfinite(float(total)) for total in sums)


def _all(probes: list[Tensor]) -> Tensor:
    return probes[0] if len(probes) == 1 else (torch.stack(probes) * 0).sum(0)


class Divergence:
    """Raises or warns when chains have diverged: ``raise`` raises, ``keep`` and ``restart`` warn
    once in the life of a sampler.

    Args:
        on_divergence: keep, raise or restart.
        advice: a sentence on what the caller can change.

    Raises:
        ValueError: on_divergence is none of these.
    """

    def __init__(self, on_divergence: OnDivergence, advice: str) -> None:
        names = get_args(OnDivergence)
        if on_divergence not in names:
            raise ValueError(f"on_divergence: expected {', '.join(names)}, got {on_divergence!r}")
        self.on_divergence, self.advice = on_divergence, advice
        self.warned = False
        self._first = 0

    def of_shard(self, rows: slice) -> _OfShard:
        """Returns what reports on the chains ``rows``, which other threads move."""
        return _OfShard(self, rows.start)

    def report(self, diverged: Tensor, when: str, **seen: Tensor) -> None:
        """Raises, or warns the first time, if a chain has diverged. Waits for a GPU.

        Args:
            diverged: bool ``(n_chains,)`` or ``(n_windows, n_chains)``.
            when: the steps, in words.
            seen: the tensors ``(n_chains, ...)`` that may not be finite, by name.

        Raises:
            NonFiniteError: chains have diverged, and on_divergence is raise.
        """
        if self.warned or not is_readable(diverged) or not bool(diverged.any()):
            return
        chains = diverged.reshape(-1, diverged.shape[-1]).any(0)
        text = f"{int(chains.sum())} of {len(chains)} chains diverged {when}{self._example(seen)}. "
        text += self.advice
        if self.on_divergence == "raise":
            raise NonFiniteError(text)
        self.warned = True
        self._warn(text)

    def _warn(self, text: str) -> None:
        warn(text)

    def _example(self, seen: dict[str, Tensor]) -> str:
        for name, values in seen.items():
            rows = not_finite(probe(values)).nonzero()[:, 0].tolist()
            if rows:
                row, chain = values[rows[0]].flatten(), self._first + rows[0]
                return f": the {name} of chain {chain} is {float(row[~row.isfinite()][0])}"
        return ""


class _OfShard(Divergence):
    """Keeps a warning for the thread that called the sampler, whose line it is about.

    Args:
        whole: reports on all chains.
        first: the number of the first chain.
    """

    def __init__(self, whole: Divergence, first: int) -> None:
        super().__init__(whole.on_divergence, whole.advice)
        self.warned, self._first, self._whole = whole.warned, first, whole
        self._text = ""

    def _warn(self, text: str) -> None:
        self._text = text

    def end(self) -> None:
        """Gives the warning, if there is one and no other chains came first."""
        if self._text and not self._whole.warned:
            self._whole.warned = True
            warn(self._text)


class Watch:
    """Watches for chains that diverge during one call of a sampler, which may make many steps.

    Steps form windows, and the chains that diverged are reported for each window.

    Args:
        divergence: says what to do.
        name: the name of the watched values: energy or score.
        state: the state before the first step.
    """

    def __init__(self, divergence: Divergence, name: str, state: LangevinState) -> None:
        self._divergence, self._name, self._first = divergence, name, state.step
        self._last: Tensor | None = None  # values of the last step
        self._recent: list[Tensor] = []  # probes of the last steps; the first may cover many
        self._windows: list[Tensor] = []  # one probe per window
        self._positive: Tensor | None = None  # bool (): all step sizes so far are positive

    @property
    def any_step(self) -> bool:
        """True if a step was made."""
        return self._last is not None

    def step_size(self, value: Any, step: int) -> float | Tensor:
        """Checks the step size that a schedule gave; :meth:`end` checks tensors on a GPU.

        Raises:
            TypeError: it is neither a number nor a tensor.
            ValueError: it is not positive and finite.
        """
        if not isinstance(value, Tensor):
            return as_positive(value, "step_size")
        valid = all_positive(value)
        if not value.is_cpu:
            self._positive = valid if self._positive is None else self._positive & valid
        elif not bool(valid):
            raise ValueError(f"{NOT_POSITIVE} at step {step}")
        return value

    def step(self, state: LangevinState, values: Tensor) -> None:
        """Records a step to ``state`` from a place with the energies or scores ``values``.

        Raises:
            NonFiniteError: as :meth:`Divergence.report`.
        """
        probes = probe(values)
        restarts = self._divergence.on_divergence == "restart"
        if restarts and not (probes.is_cpu and surely_finite(probes)):  # does not wait for a GPU
            state.begin_anew_(not_finite(probes))
        self.steps(state, values, probes)

    def steps(self, state: LangevinState, values: Tensor, probes: Tensor) -> None:
        """Records steps that another watch has followed, from what :meth:`folded` returned there.

        Raises:
            NonFiniteError: as :meth:`Divergence.report`.
        """
        self._last = values
        self._recent.append(probes)
        if len(self._recent) == _FOLDED:
            self._fold(state)

    def folded(self, state: LangevinState) -> tuple[Tensor, Tensor]:
        """Returns the values of the last step, and a number per chain that is finite if the values
        of all steps are. At least one step was made.

        Raises:
            NonFiniteError: as :meth:`Divergence.report`.
        """
        self._fold(state)
        assert self._last is not None
        return self._last, self._recent[0]

    def window(self, state: LangevinState) -> None:
        """Ends a window of one or more steps; later steps belong to the next window.

        Raises:
            NonFiniteError: as :meth:`Divergence.report`.
        """
        self._fold(state)
        self._windows.append(self._recent.pop())

    def end(self, state: LangevinState, energy: Tensor | None = None) -> Tensor:
        """Ends the last window, checks where the last step went, and reports on the whole call. At
        least one step was made.

        Args:
            state: the state after the last step.
            energy: the energies at this state, if they were asked for.

        Returns:
            Bool ``(n_windows, n_chains)``, or ``(n_chains,)`` if there is only one window: the
            chains that diverged in each.

        Raises:
            ValueError: step sizes of a schedule were not positive and finite.
            NonFiniteError: as :meth:`Divergence.report`.
        """
        self.window(state)
        first, last = self._first, state.step - 1
        steps = f"at step {last}" if first == last else f"in steps {first} to {last}"
        valid = self._positive
        if valid is not None and is_readable(valid) and not bool(valid):
            raise ValueError(f"{NOT_POSITIVE} {steps}")
        after = [state.x] if energy is None else [state.x, energy]
        n, windows = len(state.x), len(self._windows)
        if surely_finite(_all(self._windows), *after):
            shape = (n,) if windows == 1 else (windows, n)
            return torch.zeros(shape, dtype=torch.bool, device=state.x.device)
        astray = torch.stack([not_finite(probe(values)) for values in after]).any(0)
        diverged = not_finite(torch.stack(self._windows))
        if is_readable(diverged) and not bool(diverged.any()):
            steps = f"after step {last}"
        diverged[-1] |= astray
        seen = self._last if energy is None else energy
        assert seen is not None
        self._divergence.report(diverged, steps, **{self._name: seen}, state=state.x)
        if self._divergence.on_divergence == "restart":
            state.begin_anew_(astray)
        return diverged[0] if windows == 1 else diverged

    def _fold(self, state: LangevinState) -> None:
        """Combines the recent probes into one."""
        every = _all(self._recent)
        raises = self._divergence.on_divergence == "raise"
        if raises and every.is_cpu and bool(not_finite(every).any()):
            for i, values in enumerate(self._recent):  # the first one with a bad value raises
                when = f"at step {state.step - len(self._recent) + i}"
                self._divergence.report(not_finite(values), when, **{self._name: values})
        self._recent = [every]


def is_readable(t: Tensor) -> bool:
    """Says whether Python may read the values of a tensor."""
    if t.is_meta or torch.compiler.is_compiling():
        return False
    return not (t.is_cuda and torch.cuda.is_current_stream_capturing())
