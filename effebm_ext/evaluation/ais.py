"""The partition function of an energy by annealed importance sampling in both directions.

The sources are R. Neal, Annealed importance sampling, Statistics and Computing 11 (2001), and, for
the way back from the model to the base, R. Grosse, Z. Ghahramani, R. Adams, Sandwiching the
marginal likelihood using bidirectional Monte Carlo, arXiv 1511.02543.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from effebm_ext.calls import for_autograd
from effebm_ext.energies import frozen, warn_if_rounded
from effebm_ext.evaluation.annealed_move import Point, annealed_move
from effebm_ext.evaluation.bennett import bennett
from effebm_ext.evaluation.estimates import Estimate, ess, log_mean_exp
from effebm_ext.scalars import as_int

_ACCEPTANCE = 0.574  # optimal for MALA: G. Roberts, J. Rosenthal, JRSS B 60 (1998)
_GAIN = 0.2  # the pilot raises the step's logarithm by this times the excess of acceptance
_PILOT_CHAINS = 32
_FLOOR = 0.05


@dataclasses.dataclass(frozen=True)
class AIS:
    """``forward`` and ``reverse`` estimate log Z in nats, from below and from above, and
    ``bennett`` does so from the weights of both (:func:`~effebm_ext.evaluation.bennett.bennett`).
    ``ess_forward`` and ``ess_reverse`` are the effective sample sizes of the weights behind them,
    ``acceptance`` is the mean over all moves of both. ``samples`` ``(m, *event)`` are the samples
    of the model from which the way back began.
    """

    forward: Estimate
    reverse: Estimate
    bennett: Estimate
    ess_forward: float
    ess_reverse: float
    acceptance: float
    samples: Tensor


def gaussian_base(data: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation ``(*event)`` of every element of data ``(n, *event)``.
    The standard deviation is at least a twentieth of the standard deviation of all elements, so
    that constant elements have some width.

    Raises:
        ValueError: there are no data, or values that are not finite.
    """
    if data.dim() == 0 or data.numel() == 0 or not bool(data.isfinite().all()):
        raise ValueError(
            f"data: expected finite values (n, *event), n >= 1, got shape {tuple(data.shape)} "
            f"with {int((~data.isfinite()).sum())} not finite"
        )
    floor = _FLOOR * float(data.std(correction=0)) or 1.0
    return data.mean(0), data.std(0, correction=0).clamp(min=floor)


def annealed_importance_sampling(
    energy: Callable[[Tensor], Tensor],
    samples: Tensor,
    base: tuple[Tensor, Tensor],
    *,
    n_steps: int = 1000,
    n_chains: int = 128,
    generator: torch.Generator,
) -> AIS:
    """Estimates ``log Z`` of ``exp(-energy)`` on the way from a Gaussian to the model and back.

    Chains go along ``base^(1 - b) exp(-b energy)``, with b in ``n_steps`` equal steps from 0 to 1,
    and make one Metropolis-adjusted Langevin move (no compression) at each. The chains of a pilot
    run find the moves' step sizes for every b, which then stay fixed, so ``exp(forward)`` is
    unbiased.

    By Jensen's inequality the expectation of ``forward`` is at most log Z. The expectation of
    ``reverse`` is at least log Z, as far as its first chains follow the model: these are
    ``samples``, moved by ``n_steps / 10`` adjusted steps. Samples that lack a mode, or that come
    from elsewhere and have not got there by then, may spoil this bound. A small gap between the two
    says that both are good, unless both miss the same mode. Regions where chains never go count as
    nothing: for an energy that cannot be normalised, the estimate only covers the explored region.
    ``bennett`` is the estimate to quote where the gap is small. It has no bound of its own, and it
    takes the samples for samples of the model, as ``reverse`` does.

    Weights are summed in float64; the standard errors come from :func:`log_mean_exp` and
    :func:`~effebm_ext.evaluation.bennett.bennett`, and take the chains for independent. If energies
    are so large, or of so short a dtype, that their rounding is above 0.1 nats, a warning says that
    log Z is wrong.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``.
        samples: ``(m, *event)``, approximate samples of the model, finite; not changed.
        base: finite mean and standard deviation ``(*event)``, on the device and of the dtype of
            samples; for example :func:`gaussian_base`.
        n_steps: the number of temperatures, at least 1; the variance of the log weights, and with
            it the gap, falls about as its inverse.
        n_chains: the number of forward chains, at least 1.
        generator: CPU generator of all random numbers.

    Raises:
        TypeError: n_steps or n_chains is no int.
        ValueError: n_steps or n_chains below 1; shapes that do not agree; samples or a base that
            are not finite, or a standard deviation that is not > 0; an energy of another shape, or
            one that leaves no finite weight.
    """
    labels = torch.zeros(len(samples), dtype=torch.int64, device=samples.device)
    with frozen(energy):
        (found,) = annealed_by_class(
            lambda x, y: energy(x), samples, labels, base,
            n_steps=n_steps, n_chains=[n_chains], generator=generator,
        )  # fmt: skip
    return found


def annealed_by_class(
    energy: Callable[[Tensor, Tensor], Tensor],
    samples: Tensor,
    labels: Tensor,
    base: tuple[Tensor, Tensor],
    *,
    n_steps: int = 1000,
    n_chains: Sequence[int],
    generator: torch.Generator,
) -> list[AIS]:
    """Estimates ``log Z_y`` of ``exp(-energy(x, y))`` for every class y, as
    :func:`annealed_importance_sampling` does for an energy of one argument.

    The chains of all classes move at the same time, by the same step sizes, and ``acceptance`` is
    the mean over all of them.

    Args:
        energy: maps ``(n, *event)`` and labels int64 ``(n,)`` to ``(n,)`` or ``(n, 1)``.
        samples: ``(m, *event)``, approximate samples of the model given their classes; not changed.
        labels: the labels of the samples, int64 ``(m,)`` on their device, 0 to K - 1, each at least
            once.
        base: mean and standard deviation ``(*event)``, the same for all classes.
        n_steps: the number of temperatures, at least 1.
        n_chains: the number of forward chains of each of the K classes, at least 1.
        generator: CPU generator of all random numbers.

    Raises:
        TypeError: as annealed_importance_sampling.
        ValueError: as annealed_importance_sampling; n_chains are of no class, labels are not one
            for each sample, or a class is without a sample.
    """
    mean, std = base
    n_steps = as_int(n_steps, "n_steps")
    n_chains = [as_int(n, "n_chains") for n in n_chains]
    if not n_chains:
        raise ValueError("n_chains: expected a number for each class, got none")
    if n_steps < 1 or min(n_chains) < 1:
        raise ValueError(
            "n_steps, n_chains: expected at least 1, "
            f"got n_steps={n_steps}, n_chains={', '.join(map(str, n_chains))}"
        )
    if not mean.shape == std.shape == samples.shape[1:] or len(samples) < 1:
        raise ValueError(
            "base: expected mean and std of the shape of a sample, got "
            f"{tuple(mean.shape)} and {tuple(std.shape)} for samples {tuple(samples.shape)}"
        )
    if not bool((std > 0).all()):
        raise ValueError(f"base: expected standard deviations > 0, got {float(std.min())}")
    for name, values in (("base", mean), ("base", std), ("samples", samples)):
        if not bool(values.isfinite().all()):
            raise ValueError(f"{name}: expected finite values")
    classes = range(len(n_chains))
    if labels.shape != samples.shape[:1]:
        raise ValueError(
            f"labels: expected one for each of {len(samples)} samples, got shape "
            f"{tuple(labels.shape)}"
        )
    if labels.unique().tolist() != list(classes):
        raise ValueError(
            f"labels: expected each of 0 to {len(n_chains) - 1}, got {labels.unique().tolist()}"
        )
    betas = [step / n_steps for step in range(n_steps + 1)]
    counts = torch.tensor(n_chains, device=samples.device)
    labels_up = torch.arange(len(n_chains), device=samples.device).repeat_interleave(counts)
    spread = torch.arange(_PILOT_CHAINS, device=samples.device) * len(labels_up) // _PILOT_CHAINS

    @torch.inference_mode(False)  # the energy is differentiated
    def walk(y: Tensor) -> _Walk:  # units of the base make the base a standard normal
        shift, scale, classes = map(for_autograd, (mean, std, y))
        return _Walk(lambda z: energy(shift + scale * z, classes), generator)

    pilot, way_up, way_down = walk(labels_up[spread]), walk(labels_up), walk(labels)
    noise_stds = pilot.pilot(pilot.normal(_PILOT_CHAINS, mean), betas)
    up = way_up.anneal(way_up.normal(len(labels_up), mean), betas, noise_stds)
    point = way_down.at((samples - mean) / std)
    for _ in range(n_steps // 10):
        point, _ = way_down.move(point, 1.0, noise_stds[-1])
    warn_if_rounded(point.energy, "log Z is wrong by more than its standard error says")
    down = way_down.anneal(point, betas[::-1], noise_stds[::-1])
    volume = float(std.double().log().sum()) + std.numel() / 2 * math.log(2 * math.pi)
    acceptances = way_up.acceptances + way_down.acceptances
    found = []
    for k in classes:
        up_k, down_k = up[labels_up == k], down[labels == k]
        forward, reverse = log_mean_exp(up_k), log_mean_exp(down_k)
        both = bennett(up_k, down_k)
        found.append(
            AIS(
                Estimate(volume + forward.value, forward.error),
                Estimate(volume - reverse.value, reverse.error),
                Estimate(volume + both.value, both.error),
                ess(up_k),
                ess(down_k),
                sum(acceptances) / len(acceptances),
                (mean + std * point.z)[labels == k],
            )
        )
    return found


class _Walk:
    """Moves chains in units of the base."""

    def __init__(self, energy: Callable[[Tensor], Tensor], generator: torch.Generator) -> None:
        self.energy, self.generator = energy, generator
        self.acceptances: list[float] = []  # from the annealing, without the pilot

    def at(self, z: Tensor) -> Point:
        return Point.at(self.energy, z)

    def normal(self, n: int, like: Tensor) -> Point:
        return self.at(torch.randn((n, *like.shape), generator=self.generator).to(like))

    def move(self, point: Point, beta: float, noise_std: float) -> tuple[Point, float]:
        return annealed_move(self.energy, point, beta, noise_std, self.generator)

    def pilot(self, point: Point, betas: Sequence[float]) -> list[float]:
        """Finds a noise with about the wanted acceptance for every beta, by stochastic
        approximation on the way from the first to the last."""
        log_step, found = -0.25 * math.log(point.z[0].numel()), []
        for beta in betas:
            point, acceptance = self.move(point, beta, math.exp(log_step))
            log_step += _GAIN * (acceptance - _ACCEPTANCE)
            found.append(math.exp(log_step))
        return found

    def anneal(self, point: Point, betas: Sequence[float], noise_stds: Sequence[float]) -> Tensor:
        """Returns log weights ``(n,)``, float64. The expectation of their exponentials is the ratio
        of the partition functions of the last and the first beta."""
        log_weights = torch.zeros(len(point.z), dtype=torch.float64, device=point.z.device)
        for i in range(1, len(betas)):
            log_weights += (betas[i] - betas[i - 1]) * point.log_ratio()
            point, acceptance = self.move(point, betas[i], noise_stds[i])
            self.acceptances.append(acceptance)
        return log_weights
