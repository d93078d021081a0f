"""Unadjusted Langevin dynamics, one fused step at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from effebm_ext.energies import WithoutGraph
from effebm_ext.limits import Bounds, Clip, as_bounds
from effebm_ext.ops.checks import check_shrinks
from effebm_ext.ops.compressor import Compressor
from effebm_ext.rng import Rng
from effebm_ext.samplers.black_box import keeping_dtype
from effebm_ext.samplers.divergence import Divergence, OnDivergence
from effebm_ext.samplers.initial import initial_state
from effebm_ext.samplers.langevin_steps import Energy, LangevinSteps
from effebm_ext.samplers.sampler import Sampler, checked_steps, checked_thin
from effebm_ext.samplers.state import LangevinState, Run, StepInfo
from effebm_ext.samplers.step_size import StepSize, as_step_size
from effebm_ext.samplers.train_mode import warn_if_chains_are_coupled
from effebm_ext.samplers.trajectory import PackedTrajectory, check_packable
from effebm_ext.scalars import as_float, as_int

_ADVICE = (
    "They have left the support of the density, or overflowed: take a smaller step_size, clip=, "
    "bounds=, or effebm_ext.MALA, whose chains cannot leave. on_divergence='restart' sends such "
    "chains back to their start, 'raise' stops"
)


class Langevin(LangevinSteps, Sampler[LangevinState]):
    """Samples by unadjusted Langevin dynamics, with compressed gradients if asked.

    One step is ``x <- x - step_size / 2 * C(clip(grad E)) + sqrt(step_size * temperature) * xi``
    (EFF-EBM, Algorithm 1; the discretised chain has a bias that vanishes with step_size). Plain
    compression biases the chain further; ``error_feedback=True`` cures most of that, at the price
    of one more state per chain.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``; or
        score: maps ``(n, *event)`` to the gradient of the log density, same shape.
        step_size: gamma > 0: a number, a tensor ``()`` or with one per chain, or a callable of the
            step that gives one of these. A tensor is read at every step and not copied.
        temperature: the temperature of the target ``exp(-E / temperature)``; 0 descends without
            noise.
        compressor: as in :func:`effebm_ext.langevin_step_`.
        error_feedback: feed what compression dropped back into the next step.
        clip, bounds: as in :func:`effebm_ext.langevin_step_`.
        statistics: find the norm of the gradients and the fraction that is clipped, in the same
            pass as the step.
        on_divergence: leave chains that diverge as they are (keep), raise a NonFiniteError (raise),
            or put them back to their x0 (restart).

    A chain diverges if its energy (for a sampler with a score: its score) or its state is NaN or
    infinite. :class:`StepInfo` says which chains did, and the first time there is a warning;
    :mod:`effebm_ext.samplers.divergence` has the details, and what ``on_divergence`` does about it.

    Conditional energies: :meth:`init`, :meth:`sample` and :meth:`run` take ``energy_kwargs``, which
    the energy or the score gets as keyword arguments at every evaluation. They are part of the
    state, so that labels stay with their chains (:class:`effebm_ext.samplers.LangevinState`).

    A score, and the result of a compressor that is a function, may have another dtype than the
    state, as under autocast. A score may use autograd for itself.

    Raises:
        TypeError: both or neither of energy and score are given, or a scalar is no number.
        ValueError: error_feedback without a compressor, or a scalar out of range.
    """

    def __init__(
        self,
        energy: Energy | None = None,
        *,
        score: Energy | None = None,
        step_size: StepSize,
        temperature: float = 1.0,
        compressor: Compressor | None = None,
        error_feedback: bool = False,
        clip: Clip | None = None,
        bounds: Bounds | None = None,
        statistics: bool = False,
        on_divergence: OnDivergence = "keep",
    ) -> None:
        if (energy is None) == (score is None):
            raise TypeError("Langevin: expected either an energy or score=")
        if error_feedback and compressor is None:
            raise ValueError("error_feedback: expected a compressor with it, got compressor=None")
        if error_feedback:
            check_shrinks(compressor, "error_feedback")
        temperature = as_float(temperature, "temperature")
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature: expected a finite number >= 0, got {temperature}")
        self.energy, self.score = energy, score
        self.step_size, self.temperature = as_step_size(step_size), temperature
        self.compressor, self.error_feedback = compressor, error_feedback
        self._keeping_dtype = keeping_dtype(compressor)
        self.clip, self.bounds, self.statistics = clip, as_bounds(bounds), statistics
        self.on_divergence = on_divergence
        self._divergence = Divergence(on_divergence, _ADVICE)
        self._without_graph = WithoutGraph()
        self._warned_of_coupling = False

    def init(
        self, x0: Tensor, *, rng: Rng = None, energy_kwargs: Mapping[str, Any] | None = None
    ) -> LangevinState:
        """Returns a state as :meth:`Sampler.init` does; the residual starts at zero."""
        if not self._warned_of_coupling:
            function = self.score if self.energy is None else self.energy
            self._warned_of_coupling = warn_if_chains_are_coupled(function)
        return initial_state(
            x0,
            rng,
            energy_kwargs,
            with_residual=self.error_feedback,
            with_start=self.on_divergence == "restart",
        )

    def advance_(self, state: LangevinState, n_steps: int = 1) -> StepInfo:
        """Moves ``state`` by ``n_steps`` in place; returns what the last step saw.

        Raises:
            TypeError: the energy or the score returns no tensor.
            ValueError: the state has a residual and the sampler no error feedback, or the reverse;
                the energy or the score returns another shape; a schedule's step size is not
                positive and finite (tensors on a GPU are checked once, at the end of the call).
            NonFiniteError: chains diverged, and ``on_divergence`` is raise.
        """
        self._check_state(state)
        watch = self._watch(state)
        info = self._move_(state, as_int(n_steps, "n_steps"), watch)
        diverged = self._end_(state, watch, look_ahead=self.on_divergence == "restart")
        return info if diverged is None else info._replace(diverged=diverged)

    def _advance_to_end_(self, state: LangevinState, n_steps: int) -> None:
        watch = self._watch(state)
        self._move_(state, n_steps, watch)
        self._end_(state, watch, look_ahead=True)

    def run(
        self,
        x0: Tensor,
        n_steps: int,
        *,
        thin: int = 1,
        trajectory: Literal["dense", "packed"] = "dense",
        rng: Rng = None,
        energy_kwargs: Mapping[str, Any] | None = None,
    ) -> Run:
        """Samples like :meth:`sample`, keeping every ``thin``-th state and what its step saw.

        ``trajectory="packed"`` keeps the compressed drifts of all steps instead of states, about
        0.19 bytes per element and step for Block-Sign of 64 in float32; the states follow from them
        to the bit (:class:`effebm_ext.samplers.PackedTrajectory`).

        Raises:
            ValueError: thin is not between 1 and n_steps; trajectory is neither; it is packed, and
                the compressor is not TopK or BlockSign, or chains may restart; and as
                :meth:`advance_`.
            NonFiniteError: as :meth:`advance_`.
        """
        n_steps, thin = checked_steps(n_steps), checked_thin(thin, n_steps)
        if trajectory not in ("dense", "packed"):
            raise ValueError(f"trajectory: expected 'dense' or 'packed', got {trajectory!r}")
        state = self.init(x0, rng=rng, energy_kwargs=energy_kwargs)
        kept: Tensor | PackedTrajectory
        if trajectory == "packed":
            check_packable(self.compressor, restarts=self.on_divergence == "restart")
            record = kept = PackedTrajectory(state.x.clone(), state.key, self.bounds, thin)
        else:
            record, kept = None, state.x.new_empty(n_steps // thin, *state.x.shape)
        watch = self._watch(state)
        infos = []
        for i in range(n_steps // thin):
            if i > 0:
                watch.window(state)
            infos.append(self._move_(state, thin, watch, record))
            if isinstance(kept, Tensor):
                kept[i] = state.x
        self._move_(state, n_steps % thin, watch, record)
        info, diverged = StepInfo.stack(infos), self._end_(state, watch, look_ahead=True)
        if diverged is not None:
            info = info._replace(diverged=diverged.reshape(len(infos), len(state.x)))
        return Run(state.x, kept, info)
