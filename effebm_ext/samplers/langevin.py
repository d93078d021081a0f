"""Unadjusted Langevin dynamics, one fused step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from effebm_ext.calls import WithoutGraph
from effebm_ext.energies import frozen
from effebm_ext.gradients import EnergyGradient
from effebm_ext.limits import Bounds, Clip, as_bounds
from effebm_ext.ops.checks import check_shrinks
from effebm_ext.ops.compressor import Compressor, mover_of
from effebm_ext.ops.step_call import check_averaged_noise
from effebm_ext.rng import Rng
from effebm_ext.samplers.black_box import keeping_dtype
from effebm_ext.samplers.captured import CapturedSteps
from effebm_ext.samplers.divergence import Divergence, OnDivergence, Watch
from effebm_ext.samplers.fixed import FixedOptions
from effebm_ext.samplers.initial import initial_state
from effebm_ext.samplers.langevin_steps import Energy, LangevinSteps
from effebm_ext.samplers.sampler import Sampler, checked_steps, checked_thin
from effebm_ext.samplers.state import LangevinState, Run, StepInfo
from effebm_ext.samplers.step_size import StepSize, as_step_size
from effebm_ext.samplers.temperature import Temperature, as_temperature
from effebm_ext.samplers.trajectory import PackedTrajectory, check_packable
from effebm_ext.scalars import as_int

_ADVICE = (
    "They have left the support of the density, or overflowed: take a smaller step_size, clip=, "
    "bounds=, or effebm_ext.MALA, whose chains cannot leave. on_divergence='restart' sends such "
    "chains back to their start, 'raise' stops"
)


class Langevin(FixedOptions, LangevinSteps, Sampler[LangevinState]):
    """Samples by unadjusted Langevin dynamics, with compressed gradients if asked.

    One step is ``x <- x - step_size / 2 * C(clip(grad E)) + sqrt(step_size * temperature) * xi``
    (EFF-EBM, Algorithm 1; the discretised chain has a bias that vanishes with step_size). Plain
    compression biases the chain further; ``error_feedback=True`` cures most of that, at the price
    of one more state per chain.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``; or
        score: maps ``(n, *event)`` to the gradient of the log density, same shape.
        step_size: gamma > 0: a number; a tensor ``()``, ``(n_chains,)`` with one per chain, or
            ``(1, *event)`` or ``(n_chains, *event)`` with one per element, of which some may be 0,
            so that these elements rest; or a callable of the step that gives one of these. A tensor
            is read at every step and not copied.
        temperature: the temperature of the target ``exp(-E / temperature)``: a number, or a tensor
            ``(n_chains,)`` with one per chain, read at every step and not copied; 0 descends
            without noise.
        compressor: as in :func:`effebm_ext.langevin_step_`.
        error_feedback: feed what compression dropped back into the next step. :meth:`samples`
            takes off the states what this leaves of the bias.
        clip, bounds: as in :func:`effebm_ext.langevin_step_`.
        statistics: find the norm of the gradients and the fraction that is clipped, in the same
            pass as the step, and the virial at the last of the steps that are made at once.
        virial_centre: m of the virial, a constant ``(*event)`` on the device of the chains; None:
            0. A mean of the chains or the data takes noise off the virial.
        stochastic_rounding: as in :func:`effebm_ext.langevin_step_`: for states of bfloat16 or
            float16.
        averaged_noise: add the mean of the noise of a step and of the noise of the next one
            (Leimkuhler and Matthews 2013); not for RandomBlock. The chain then samples every
            Gaussian without the bias of the step size, and other densities with a bias of the order
            of ``step_size**2``. The noise costs twice as much.
        on_divergence: leave chains that diverge as they are (keep), raise a NonFiniteError (raise),
            or put them back to their x0 (restart).
        compile: make energy and gradient one graph by torch.compile; a warning says so if this is
            not possible. The first step takes seconds.
        gradient_dtype: bfloat16 or float16: evaluate the energy and its gradient under
            ``torch.autocast`` with this dtype. The gradient's rounding biases the chain somewhat,
            as a compressor does; so does the rounding of the energies that are reported.
        shards: move so many groups of chains at the same time, each on a thread of its own, in the
            place of torch's threads within every layer. The noise of a chain is the same in every
            group; gradients of networks may differ in their last bits. A CPU with n cores is best
            used by n shards wherever a single thread has enough work for the chains of one. A
            schedule, the energy and a compressor that is a function are called from all threads.
            A GPU, and a trajectory that is packed, have one group.
        cuda_graph: make the steps of chains on a GPU by CUDA graphs of many steps, which continue
            the noise: the chains are those of a sampler without graphs. The first call, and the
            first calls with other shapes, capture the graphs. A warning says so if this is not
            possible, as for an energy that waits for the GPU. A sampler with graphs is for one
            stream at a time; :mod:`effebm_ext.samplers.captured` says what graphs notice of what
            changes. On the CPU, and for a trajectory that is packed, it makes no difference.

    A chain diverges if its energy (for a sampler with a score: its score) or its state is NaN or
    infinite. :class:`StepInfo` says which chains did, and the first time there is a warning;
    :mod:`effebm_ext.samplers.divergence` has the details, and what ``on_divergence`` does about it.

    Conditional energies: :meth:`init`, :meth:`sample` and :meth:`run` take ``energy_kwargs``, which
    the energy or the score gets as keyword arguments at every evaluation. They are part of the
    state, so that labels stay with their chains (:class:`effebm_ext.samplers.LangevinState`).

    Step size, temperature, clip, bounds, statistics, virial_centre, stochastic_rounding and shards
    may be assigned later. An AttributeError refuses another value of any other option.

    A score, and the result of a compressor that is a function, may have another dtype than the
    state, as under autocast. A score may use autograd for itself.

    Raises:
        TypeError: both or neither of energy and score are given, or a scalar is no number.
        ValueError: error_feedback without a compressor, error_feedback or averaged_noise with a
            compressor that does not allow it, or a scalar out of range.
    """

    fixed = frozenset({
        "energy", "score", "compressor", "error_feedback", "averaged_noise", "on_divergence",
        "compile", "gradient_dtype", "cuda_graph",
    })  # fmt: skip

    def __init__(
        self,
        energy: Energy | None = None,
        *,
        score: Energy | None = None,
        step_size: StepSize,
        temperature: Temperature = 1.0,
        compressor: Compressor | None = None,
        error_feedback: bool = False,
        clip: Clip | None = None,
        bounds: Bounds | None = None,
        statistics: bool = False,
        virial_centre: Tensor | None = None,
        stochastic_rounding: bool = False,
        averaged_noise: bool = False,
        on_divergence: OnDivergence = "keep",
        compile: bool = False,
        gradient_dtype: torch.dtype | None = None,
        shards: int = 1,
        cuda_graph: bool = False,
    ) -> None:
        if (energy is None) == (score is None):
            raise TypeError("Langevin: expected either an energy or score=")
        self.compile, self.gradient_dtype = compile, gradient_dtype
        self.gradient = None
        if energy is not None:
            self.gradient = EnergyGradient(energy, compile=compile, dtype=gradient_dtype)
        elif compile or gradient_dtype is not None:
            raise ValueError(
                "score: expected an energy with compile and gradient_dtype; a score can be "
                "compiled, and run under torch.autocast, by its caller"
            )
        if error_feedback and compressor is None:
            raise ValueError("error_feedback: expected a compressor with it, got compressor=None")
        if error_feedback:
            check_shrinks(compressor, "error_feedback")
        if averaged_noise:
            check_averaged_noise(compressor)
        self.energy, self.score = energy, score
        self.step_size, self.temperature = as_step_size(step_size), as_temperature(temperature)
        self.compressor, self.error_feedback = compressor, error_feedback
        self._keeping_dtype = keeping_dtype(compressor)
        self.clip, self.bounds, self.statistics = clip, as_bounds(bounds), statistics
        self.virial_centre = virial_centre
        self.stochastic_rounding, self.averaged_noise = stochastic_rounding, averaged_noise
        self.on_divergence, self.shards = on_divergence, as_int(shards, "shards")
        if self.shards < 1:
            raise ValueError(f"shards: expected at least 1, got {shards}")
        if not isinstance(cuda_graph, bool):
            raise TypeError(f"cuda_graph: expected True or False, got {cuda_graph!r}")
        self.cuda_graph = cuda_graph
        self.captured = CapturedSteps() if cuda_graph else None
        self._divergence = Divergence(on_divergence, _ADVICE)
        self._without_graph = WithoutGraph()

    def init(
        self, x0: Tensor, *, rng: Rng = None, energy_kwargs: Mapping[str, Any] | None = None
    ) -> LangevinState:
        """Returns a state as :meth:`Sampler.init` does; the residual starts at zero."""
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
            TypeError: n_steps is no integer, or the energy or the score returns no tensor.
            ValueError: n_steps is negative; the state has a residual and the sampler no error
                feedback, or the reverse; the energy or the score returns another shape; a
                schedule's step size is not positive and finite (tensors on a GPU are checked once,
                at the end of the call).
            NonFiniteError: chains diverged, and ``on_divergence`` is raise.
        """
        n_steps = checked_steps(n_steps)
        return self._advance_(state, n_steps, look_ahead=self.on_divergence == "restart")

    def _move_(
        self,
        state: LangevinState,
        n_steps: int,
        watch: Watch,
        record: PackedTrajectory | None = None,
    ) -> StepInfo:
        if record is None and self.captured is not None and self.captured.can_move(state):
            return self.captured.move_(self, state, n_steps, watch)
        return super()._move_(state, n_steps, watch, record)

    def _advance_to_end_(self, state: LangevinState, n_steps: int) -> None:
        self._advance_(state, n_steps, look_ahead=True)

    def _advance_(self, state: LangevinState, n_steps: int, *, look_ahead: bool) -> StepInfo:
        self._check_state(state)

        def move(sampler: Langevin, part: LangevinState, _: slice) -> StepInfo:
            watch = sampler._watch(part)
            info = sampler._move_(part, n_steps, watch)
            diverged = sampler._end_(part, watch, look_ahead=look_ahead)
            return info if diverged is None else info._replace(diverged=diverged)

        return self._by_shards(state, n_steps, move)

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
        """Samples like :meth:`sample`, keeping samples of every ``thin``-th step and what it saw.

        ``trajectory="packed"`` keeps the compressed drifts of all steps instead of states, about
        0.19 bytes per element and step for Block-Sign of 64 in float32; the states ``x``, not their
        :meth:`samples`, follow from them to the bit
        (:class:`effebm_ext.samplers.PackedTrajectory`).

        Raises:
            ValueError: thin is not between 1 and n_steps; trajectory is neither; it is packed, and
                the compressor packs nothing, or chains may restart; and as
                :meth:`advance_`.
            NonFiniteError: as :meth:`advance_`.
        """
        n_steps, thin = checked_steps(n_steps), checked_thin(thin, n_steps)
        if trajectory not in ("dense", "packed"):
            raise ValueError(f"trajectory: expected 'dense' or 'packed', got {trajectory!r}")
        state = self.init(x0, rng=rng, energy_kwargs=energy_kwargs)
        self._check_state(state)
        if trajectory == "packed":
            check_packable(self.compressor, restarts=self.on_divergence == "restart")
            packed = PackedTrajectory(
                state.x.clone(),
                state.key,
                self.bounds,
                self.stochastic_rounding,
                self.averaged_noise,
                mover_of(self.compressor),
                thin,
            )
            with frozen(self._function):
                info = self._record_(state, n_steps, thin, packed)
            return Run(self.samples(state), packed, info)
        kept = state.x.new_empty(n_steps // thin, *state.x.shape)

        def move(sampler: Langevin, part: LangevinState, rows: slice) -> StepInfo:
            return sampler._record_(part, n_steps, thin, kept[:, rows])

        info = self._by_shards(state, n_steps, move)
        return Run(self.samples(state), kept, info)
