"""Langevin moves along any drift that is kept with the chain, with the ratio that makes them exact.

The same number is the logarithm of the Metropolis-Hastings ratio (Roberts and Tweedie 1996) and the
increment of the logarithm of a Jarzynski weight (arXiv 2305.19414, there for ``b = -grad E``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from effebm_ext.energies import frozen
from effebm_ext.gradients import EnergyGradient
from effebm_ext.limits import Bounds, Clip
from effebm_ext.ops.checks import check_state
from effebm_ext.ops.clip import clip_gradient
from effebm_ext.ops.compressor import Compressor, FusedCompressor, mover_of
from effebm_ext.ops.drift import drift_and_sums
from effebm_ext.ops.langevin_transition import transition_along
from effebm_ext.ops.log_ratio import log_ratio
from effebm_ext.rng import Key, Rng
from effebm_ext.samplers.black_box import keeping_dtype
from effebm_ext.samplers.cached import CachedDrift, CachedState, dense
from effebm_ext.samplers.fixed import FixedOptions
from effebm_ext.samplers.initial import initial_state
from effebm_ext.samplers.langevin import Langevin
from effebm_ext.samplers.langevin_steps import Energy
from effebm_ext.samplers.state import LangevinState
from effebm_ext.samplers.step_size import StepSize
from effebm_ext.scalars import as_positive
from effebm_ext.shown import as_call

# Added to the step where a drift is found outside of the steps, so that a random compressor draws
# numbers for it that no proposal has seen.
_OUTSIDE_OF_STEPS = 2**55


class Proposal(NamedTuple):
    """A step from x to x', with energy and drift at x' and the ratio of the step.

    Attributes:
        x: the new state x', ``(n_chains, *event)``.
        energy: E'(x'), ``(n_chains,)``.
        drift: ``C(clip(grad E'(x')))``, dense; with RandomBlock ``clip(grad E'(x'))``.
        log_ratio: float64 ``(n_chains,)``, ``E(x) - E'(x') + log q'(x | x') - log q(x' | x)``. E
            and q belong to the state's cache, E' and q' to the present energy. It is -inf if E'(x')
            is infinite.
    """

    x: Tensor
    energy: Tensor
    drift: Tensor
    log_ratio: Tensor


class LangevinProposal(FixedOptions):
    """Proposes ``x' = x + h b(x) + sqrt(2h) xi`` with ``h = step_size / 2`` and
    ``b = -C(clip(grad E))``.

    With ``delta = x' - x`` the ratio is (b' is the b of E')::

        log_ratio = E(x) - E'(x') - delta . (b(x) + b'(x')) / 2 + h/4 (|b(x)|^2 - |b'(x')|^2)

    This holds for any deterministic b, and for a random ``b(x, omega) = -C(clip(grad E(x)),
    omega)`` if every call of the compressor draws its omega afresh, independently of the state, the
    noise and the past. Ratio and next step then use the same drift found at x', so that chain and
    omega follow ``p(x) p(omega)``, and ``p(omega)`` cancels (docs/sampling.md has the proof).
    RandomK and NaturalCompression draw by the chain's key. RandomBlock draws one block for a step,
    there and back, whatever the state is: b and b' are zero elsewhere. The next step has another
    block, so that what is kept at x' is ``clip(grad E)``. A function that draws has to use numbers
    of its own, such as those of torch's default generator, and is exact if it also looks at one row
    at a time and remembers nothing. Nothing checks this.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``: a function of only x and its
            parameters, since its values are kept.
        step_size: gamma > 0: a number, or a callable of the step that gives one. Tensors without
            axes are numbers; the host waits for a tensor on a GPU.
        compressor: TopK, BlockSign, RandomK, NaturalCompression, RandomBlock, any function of a
            tensor row by row, deterministic or random as above, or None. The state of a function's
            generator is not saved with the chains.
        clip: as in :func:`effebm_ext.langevin_step_`.
        error_feedback, bounds, averaged_noise: refused; see below.
        compile, gradient_dtype: as in :class:`effebm_ext.Langevin`. The energies keep their
            arithmetic, at the price of evaluating them once more, so that chains and weights are
            exact with a gradient of any dtype.

    Raises:
        TypeError: step_size is a tensor with axes, or otherwise not a number.
        ValueError: step_size is not positive and finite. error_feedback is set: it makes the drift
            depend on the chain's past; or averaged_noise, which makes the noise depend on it.
            bounds are set: a bounded proposal does not have the Gaussian density.
        AttributeError: another value is assigned to an attribute other than step_size and clip.
    """

    fixed = frozenset({"energy", "compressor", "compile", "gradient_dtype"})
    step_size: StepSize

    def __init__(
        self,
        energy: Energy,
        *,
        step_size: StepSize,
        compressor: Compressor | None = None,
        clip: Clip | None = None,
        error_feedback: bool = False,
        bounds: Bounds | None = None,
        averaged_noise: bool = False,
        compile: bool = False,
        gradient_dtype: torch.dtype | None = None,
    ) -> None:
        if error_feedback:
            raise ValueError(
                "error_feedback: expected none where steps are adjusted or weighted: their ratio "
                "needs a drift that depends on the state, or on fresh random numbers too, and not "
                "on the past"
            )
        if averaged_noise:
            raise ValueError(
                "averaged_noise: expected none where steps are adjusted or weighted: their ratio "
                "needs noise that is independent of the steps before"
            )
        if bounds is not None:
            raise ValueError(
                "bounds: expected none where steps are adjusted or weighted: their ratio needs the "
                f"density of the step, which bounds change, got {bounds}"
            )
        if isinstance(step_size, Tensor) and step_size.dim() > 0:
            raise TypeError(
                "step_size: expected a number or a function, got Tensor of shape "
                f"{tuple(step_size.shape)}"
            )
        self.step_size = step_size if callable(step_size) else as_positive(step_size, "step_size")
        self.energy, self.compressor, self.clip = energy, compressor, clip
        self.compile, self.gradient_dtype = compile, gradient_dtype
        self.gradient = EnergyGradient(
            energy, compile=compile, dtype=gradient_dtype, exact_energies=True
        )
        self._keeping_dtype = keeping_dtype(compressor)
        self._of_step = mover_of(compressor)  # keeps entries of a step, not of a state

    __repr__ = as_call

    @classmethod
    def of(cls, sampler: Langevin) -> LangevinProposal:
        """Makes a proposal with the same steps as a sampler.

        Raises:
            ValueError: the sampler has error feedback, bounds, averaged noise, a score in the place
                of an energy, or a temperature other than 1.
            TypeError: the sampler has a step size per chain.
        """
        if sampler.energy is None:
            raise ValueError("sampler: expected an energy, which a ratio needs, got a score")
        if isinstance(sampler.temperature, Tensor):
            raise ValueError("sampler: expected temperature 1, got one for each chain")
        if sampler.temperature != 1.0:
            raise ValueError(f"sampler: expected temperature 1, got {sampler.temperature}")
        return cls(
            sampler.energy,
            step_size=sampler.step_size,
            compressor=sampler.compressor,
            clip=sampler.clip,
            error_feedback=sampler.error_feedback,
            bounds=sampler.bounds,
            averaged_noise=sampler.averaged_noise,
            compile=sampler.compile,
            gradient_dtype=sampler.gradient_dtype,
        )

    def init(
        self, x0: Tensor, *, rng: Rng = None, energy_kwargs: Mapping[str, Any] | None = None
    ) -> CachedState:
        """Returns a state at a copy of ``x0`` ``(n_chains, *event)``, float32 or float64; it takes
        the arguments of :meth:`effebm_ext.samplers.Sampler.init`.

        Raises:
            TypeError: as :meth:`effebm_ext.samplers.Sampler.init`, or x0 has 16 bits, whose
                rounding is no part of a step's density.
        """
        check_state(x0, "x0")
        if x0.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                "x0: expected float32 or float64, as the rounding of shorter numbers is no part of "
                f"a step's density, got {x0.dtype}"
            )
        state = initial_state(x0, rng, energy_kwargs)
        energy, drift = self._cache(state)
        return CachedState(**vars(state), energy=energy, drift=drift)

    def refresh_(self, state: CachedState) -> None:
        """Updates energy and drift of a state to the present energy, by one gradient."""
        state.energy, state.drift = self._cache(state)

    def _cache(self, state: LangevinState) -> tuple[Tensor, CachedDrift]:
        """Returns energy and drift at the place of a state, by one gradient."""
        with frozen(self.energy):
            energy, gradient = self.gradient(state.x, state.energy_kwargs)
        applied, _ = self._drift(gradient, state.key, state.step + _OUTSIDE_OF_STEPS)
        return energy, self._keep(applied)

    def propose(self, state: CachedState) -> Proposal:
        """Proposes a step along the cached drift, whatever parameters that drift belongs to, by one
        gradient at x'. The state is left as it is."""
        step_size = self.step_size
        gamma = step_size(state.step) if callable(step_size) else step_size
        gamma = as_positive(gamma, "step_size")
        key = state.key.at(state.step)
        x, sums = transition_along(state.x, dense(state.drift), gamma, key, self._of_step)
        energy, gradient = self.gradient(x, state.energy_kwargs)
        drift, back_sums = self._drift(gradient, state.key, state.step, x - state.x)
        ratio = log_ratio(state.energy, energy, sums, back_sums, gamma)
        return Proposal(x, energy, drift, ratio)

    def move_(self, state: CachedState, to: Proposal) -> None:
        """Takes a step with all chains."""
        state.step += 1
        state.x, state.energy = to.x, to.energy
        state.drift = to.drift if isinstance(state.drift, Tensor) else self._keep(to.drift)

    @contextlib.contextmanager
    def moving(self, state: CachedState) -> Iterator[None]:
        """Makes the steps inside the block faster: the drift of the state stays dense, so that no
        step has to pack it, and no parameter asks for its gradient. The drift is packed again at
        the end."""
        was_packed = not isinstance(state.drift, Tensor)
        state.drift = dense(state.drift)
        try:
            with frozen(self.energy):
                yield
        finally:
            if was_packed:
                state.drift = self._keep(dense(state.drift))

    def _drift(
        self, gradient: Tensor, key: Key, step: int, delta: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the drift to keep, for which a random compressor draws the numbers of this step,
        and the sums of the way back."""
        compressor = self._keeping_dtype
        is_random = isinstance(compressor, FusedCompressor) and compressor.is_random
        rng = key.at(step) if is_random else None
        applied, sums = drift_and_sums(
            gradient, compressor=compressor, clip=self.clip, delta=delta, rng=rng
        )
        return applied if self._of_step is None else clip_gradient(gradient, self.clip), sums

    def _keep(self, applied: Tensor) -> CachedDrift:
        if self._of_step is None and isinstance(self.compressor, FusedCompressor):
            return self.compressor.pack(applied)
        return applied
