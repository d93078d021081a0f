"""Weighted walkers: exact averages of a model that changes, by Jarzynski's equality.

A walker X with log weight A is *properly weighted* for an energy E if E[exp(A) f(X)] is the
integral of f exp(-E) for every f (then log mean exp(A) estimates log Z, and weighted averages are
averages over the model). It stays so for the energy E' of new parameters

* if it moves to X' by any step of density q(X' | X), where q'(X | X') is any density of the way
  back, and A += E(X) - E'(X') + log q'(X | X') - log q(X' | X) (annealed importance sampling, Neal
  2001; sequential Monte Carlo samplers, Del Moral, Doucet and Jasra 2006). For Langevin steps with
  drift b this is the log_ratio of :class:`effebm_ext.samplers.proposal.Proposal`; for b = -grad E
  it is the alpha_k(X, X') - alpha_{k+1}(X', X) of arXiv 2305.19414. Neither b need be the
  gradient: the forward b is *the drift kept at X*, for whatever parameters it was found, so one
  gradient per step is enough, even for a walker that has rested while the parameters changed.
  Both may be random, if their numbers are independent of walker and noise;
* if it rests, and A += E(X) - E'(X);
* if it then moves by steps that leave exp(-E') unchanged, such as MALA's, and A stays. The drift of
  these steps must belong to E' at both ends, which takes one gradient more for every change of the
  parameters, and if it is random, its numbers must be drawn afresh for every state;
* if walkers are resampled, and all get the mean weight.

Parameters that are trained on the walkers depend on them. So estimates are consistent as the number
n of walkers grows, but not unbiased: every update raises the energy of just these walkers, and
gradient descent of rate r lowers the estimate of log Z by about r times the variance of the
gradient's estimate, of order 1/n, at every update. Walkers that never enter a gradient are free of
this: :class:`effebm_ext.chains.accompanied.AccompaniedWalkers`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from effebm_ext.calls import WithoutGraph
from effebm_ext.chains.resampling import SCHEMES, in_random_order, resample
from effebm_ext.energies import per_chain, warn_if_rounded
from effebm_ext.log_weights import effective_size, log_of_mean
from effebm_ext.rng import Rng
from effebm_ext.samplers import MALA, Langevin, LangevinState
from effebm_ext.samplers.cached import CachedState
from effebm_ext.samplers.divergence import Divergence, OnDivergence
from effebm_ext.samplers.proposal import LangevinProposal
from effebm_ext.scalars import as_float, as_int
from effebm_ext.shown import as_call

_ADVICE = (
    "They have left the support of the density, or overflowed: take a smaller step_size or clip=, "
    "or let MALA move them. on_divergence='restart' replaces such walkers by others when they are "
    "resampled, 'raise' stops"
)


class Followed(NamedTuple):
    """The report of :meth:`WeightedWalkers.advance`.

    Attributes:
        ess: effective sample size of the weights before resampling, 1 to n.
        resampled: whether the walkers were resampled.
        acceptance: mean over moves and walkers; None if the steps are not adjusted.
        n_diverged: the number of walkers whose energy or weight was NaN before resampling.
    """

    ess: float
    resampled: bool
    acceptance: float | None
    n_diverged: int


class WeightedWalkers:
    """Moves walkers that follow a model in training and have weights that correct for their lag.

    An infinite energy means zero density: a walker that gets there weighs nothing until it is
    resampled. (Between hard walls only MALA's weights are exact: the weights of unadjusted steps
    count as if walkers could come from beyond, and log Z is too low.) If no walker weighs anything
    any more, the effective sample size and log Z are NaN.

    A walker whose energy is NaN has diverged. With ``on_divergence="keep"`` its weight, the
    effective sample size and log Z are NaN from then on, and a warning says so once. With "raise" a
    NonFiniteError is raised. With "restart" the walker counts as if its density were zero, with a
    warning: it weighs nothing, and a copy of another walker takes its place at the next resampling.
    If energies are so large, or of so short a dtype, that their rounding is above 0.1 nats, the
    weights are wrong, and a warning says so once.

    Args:
        sampler: moves the walkers. For a Langevin sampler the weights correct the step size, the
            compression and the change of the parameters; the correction for compression grows with
            time. For MALA they correct only the change of the parameters.
        x0: the starts of the walkers, ``(n, *event)``, float32 or float64; copied.
        log_density: ``(n,)``, the normalised log density at x0 of the law that x0 was drawn from.
            The walkers start with ``A = -E(x0) - log_density``, so that :attr:`log_z` is log Z
            itself. For samples of the model it is ``-E(x0) - log Z``.
        rng: a Key, a torch.Generator, or None.
        moved: how many walkers are moved at a time, in turn; 0: all.
        resampling: systematic, stratified or multinomial.
        resample_threshold: walkers are resampled if their effective sample size falls below this
            share of their number, 0 (never) to 1.
        on_divergence: keep, raise or restart, see above. The sampler itself must have keep.

    Attributes:
        walkers: the state of the walkers, with the energies and drifts kept there.
        log_weights: float64 ``(n,)``, gathered since the last resampling.

    Raises:
        TypeError, ValueError: an argument is out of its range; the sampler has error feedback,
            bounds, another temperature than 1, a step size per chain, or no energy.
    """

    def __init__(
        self,
        sampler: Langevin | MALA,
        x0: Tensor,
        log_density: Tensor,
        *,
        rng: Rng = None,
        moved: int = 0,
        resampling: str = "systematic",
        resample_threshold: float = 0.5,
        on_divergence: OnDivergence = "keep",
    ) -> None:
        moved = as_int(moved, "moved")
        resample_threshold = as_float(resample_threshold, "resample_threshold")
        if log_density.shape != x0.shape[:1]:
            raise ValueError(
                f"log_density: expected shape ({len(x0)},), got {tuple(log_density.shape)}"
            )
        if not 0 <= moved <= len(x0):
            raise ValueError(f"moved: expected 0 to {len(x0)}, the walkers, got {moved}")
        if resampling not in SCHEMES:
            raise ValueError(f"resampling: expected {', '.join(SCHEMES)}, got {resampling!r}")
        if not 0 <= resample_threshold <= 1:
            raise ValueError(f"resample_threshold: expected 0 to 1, got {resample_threshold}")
        if sampler.on_divergence != "keep":
            raise ValueError(
                "sampler: expected on_divergence='keep', as walkers have their own, got "
                f"{sampler.on_divergence!r}"
            )
        self.on_divergence, self._divergence = on_divergence, Divergence(on_divergence, _ADVICE)
        self._warned_of_rounding = False
        self._without_graph = WithoutGraph()
        self.sampler = LangevinProposal.of(sampler) if isinstance(sampler, Langevin) else sampler
        self.resampling, self.resample_threshold = resampling, resample_threshold
        self.walkers: CachedState = self.sampler.init(x0, rng=rng)
        log_weights = -self.walkers.energy.double() - log_density.detach().double()
        self.log_weights = self._without_nan(log_weights)
        self._log_z_before = 0.0  # the part of log Z that resampling took out of the weights
        self._families = torch.arange(len(x0), device=x0.device)  # the start of every walker
        self._moved, self._first = moved or len(x0), 0

    __repr__ = as_call

    @property
    def weights(self) -> Tensor:
        """The normalised weights, float64 ``(n,)``, with sum one."""
        return torch.softmax(self.log_weights, 0)

    @property
    def ess(self) -> float:
        """Kish's effective sample size ``1 / sum(weights^2)``, 1 to n."""
        return effective_size(self.log_weights)

    @property
    def log_z(self) -> float:
        """Estimate of log Z, where Z is the integral of exp(-E)."""
        return self._log_z_before + log_of_mean(self.log_weights)

    @property
    def log_z_error(self) -> float:
        """Standard error of :attr:`log_z`, for which walkers of one ancestor count as one: with W_f
        the share of the weights that descends from start f, and S the sum of all W_f^2, its square
        is ``(S - 1/n) / (1 - S)``.

        Without resampling S is 1 / ESS. For small S this is the relative variance of the mean
        weight; with resampling it is that of Lee and Whiteley 2018 (arXiv 1509.00394) for schemes
        that copy no more than the weights ask for. It is infinite if a single family is left: then
        nothing is known of the error. It does not see modes that no walker has found.
        """
        weights = self.weights.cpu()  # sums on a GPU have no fixed order
        families = self._families.cpu()
        n = len(weights)
        if bool((families == families[0]).all()):
            return math.inf
        squares = torch.zeros_like(weights).index_add_(0, families, weights).square().sum()
        return float(((squares - 1 / n).clamp(min=0) / (1 - squares).clamp(min=0)).sqrt())

    @property
    def samples(self) -> Tensor:
        """The samples of :attr:`state`, ``(n_walkers, *event)``."""
        return self.state.x

    @property
    def state(self) -> LangevinState:
        """Samples of the model with equal weights: resampled copies of the walkers, in random
        order, so that the first ones are samples too. The walkers themselves keep their
        weights."""
        w = self.walkers
        key = w.key.at(w.step)
        rows = in_random_order(resample(self.log_weights, "systematic", key), key)
        return LangevinState(w.x[rows], None, w.key, w.step)

    def advance(self, n_steps: int) -> Followed:
        """Updates the weights to the present energy, moves the walkers by ``n_steps``, and
        resamples them if their effective sample size is below the threshold.

        Raises:
            TypeError: n_steps is no integer.
            ValueError: n_steps is below 1, or a schedule's step size is not positive and finite.
            NonFiniteError: walkers have diverged, and on_divergence is raise.
        """
        n_steps = as_int(n_steps, "n_steps")
        if n_steps < 1:
            raise ValueError(f"n_steps: expected at least 1, got {n_steps}")
        with torch.inference_mode(False):  # the walkers are trained on later
            return self._advance(n_steps)

    def _advance(self, n_steps: int) -> Followed:
        n = len(self.log_weights)
        if self._moved == n:
            self.log_weights, acceptance = self._move_(self.walkers, self.log_weights, n_steps)
        else:
            turn = (self._first + torch.arange(n, device=self.log_weights.device)) % n
            self._first = (self._first + self._moved) % n
            rows, at_rest = turn[: self._moved], turn[self._moved :]
            self._reweight(at_rest)
            moving = self.walkers.take(rows)
            moved, acceptance = self._move_(moving, self.log_weights[rows], n_steps)
            self.log_weights[rows] = moved
            self.walkers.put_(rows, moving)
        n_diverged = self._look()
        ess = self.ess
        resampled = ess < self.resample_threshold * n
        if resampled:
            self._resample()
        return Followed(ess, resampled, acceptance, n_diverged)

    def _look(self) -> int:
        """Returns how many walkers have diverged, and warns of them or raises, as asked."""
        w = self.walkers
        nan = w.energy.isnan() | self.log_weights.isnan()
        count = int(nan.sum())
        if count:
            energy = torch.where(nan, w.energy, 0)  # infinite energies do not count
            self._divergence.report(nan, f"before step {w.step}", energy=energy)
        if not self._warned_of_rounding:
            self._warned_of_rounding = warn_if_rounded(w.energy, "weights and log Z are wrong")
        return count

    def _move_(
        self, state: CachedState, log_weights: Tensor, n_steps: int
    ) -> tuple[Tensor, float | None]:
        """Moves walkers from the energy of the cache to the present energy; returns the new log
        weights and the acceptance."""
        if isinstance(self.sampler, MALA):
            energy = state.energy
            self.sampler.refresh_(state)
            log_weights = self._added(log_weights, energy.double() - state.energy.double())
            with self.sampler.moving(state):
                info = self.sampler.steps_(state, n_steps)
            assert info.acceptance is not None  # the steps are adjusted
            return log_weights, float(info.acceptance.mean())
        with self.sampler.moving(state):
            for _ in range(n_steps):
                proposal = self.sampler.propose(state)
                log_weights = self._added(log_weights, proposal.log_ratio)
                self.sampler.move_(state, proposal)
        return log_weights, None

    def _reweight(self, rows: Tensor) -> None:
        """Updates the weights of walkers that rest; their drifts still belong to old parameters."""
        w = self.walkers
        energy = per_chain(self._without_graph(self.sampler.energy, w.x[rows]), len(rows))
        increments = w.energy[rows].double() - energy.double()
        self.log_weights[rows] = self._added(self.log_weights[rows], increments)
        w.energy[rows] = energy

    def _added(self, log_weights: Tensor, increments: Tensor) -> Tensor:
        """Adds increments, but keeps weights of zero: between infinite energies an increment may be
        anything."""
        added = log_weights + self._without_nan(increments)
        return torch.where(log_weights == -math.inf, log_weights, added)

    def _without_nan(self, log_ratios: Tensor) -> Tensor:
        """Replaces NaN by a weight of zero if diverged walkers restart."""
        if self.on_divergence != "restart":
            return log_ratios
        return log_ratios.nan_to_num(-math.inf, math.inf, -math.inf)

    def _resample(self) -> None:
        w = self.walkers
        self._log_z_before = self.log_z
        rows = resample(self.log_weights, self.resampling, w.key.at(w.step))
        self.walkers = w.take(rows)
        self._families = self._families[rows]
        self.log_weights = torch.zeros_like(self.log_weights)

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that changes: :attr:`state`, from which samples are drawn later, and
        the walkers with weights, energies and drifts. The walkers' tensors are not copied."""
        walkers = self.walkers.state_dict()
        own = {
            **{name: walkers[name] for name in ("x", "energy", "drift")},
            "log_weights": self.log_weights,
            "log_z_before": self._log_z_before,
            "families": self._families,
            "first": self._first,
        }
        return {**self.state.state_dict(), "walkers": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from where :meth:`state_dict` was taken.

        Raises:
            KeyError, TypeError, ValueError: the state belongs to other walkers.
        """
        own, like = state["walkers"], self.walkers
        self.walkers = like.loaded({**state, **own})
        self.log_weights = own["log_weights"].to(like.x.device, copy=True)
        self._log_z_before, self._first = own["log_z_before"], own["first"]
        # Checkpoints of earlier releases have no families; errors of log Z then count from here.
        families = own.get("families", torch.arange(len(like.x)))
        self._families = families.to(like.x.device, copy=True)
