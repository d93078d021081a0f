"""The evaluation of a run: what ``evaluation.json`` holds and the command line prints."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from effebm_ext.config import TrainConfig
from effebm_ext.data import Dataset
from effebm_ext.energies import per_chain
from effebm_ext.evaluation.ais import annealed_importance_sampling, gaussian_base
from effebm_ext.evaluation.estimates import cross_entropy
from effebm_ext.evaluation.kernel_two_sample import kernel_two_sample
from effebm_ext.evaluation.ood import out_of_distribution
from effebm_ext.evaluation.ranking import auroc
from effebm_ext.rng import generator_for

_ROWS = 10_000  # at most so many are evaluated
_ROWS_OF_KERNEL = 1000
_CHUNK = 1000


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Of ``n_data`` rows with Gaussian noise of ``data_noise`` added, as in training: held out, or
    of the training data where nothing was (``held_out``). Nats per row, densities in the units of
    the data. With a ``noise_end`` the energy is that of no noisy data, and the figures compare with
    no other run's. The ``forward`` figures are too low on average, the ``reverse`` ones too high,
    see :func:`annealed_importance_sampling`; ``gap`` is reverse minus forward. MMD^2 is between
    samples of the model and the data; ``auroc`` tells the data from ``ood`` by the energy.
    ``*_error`` are standard errors.
    """

    held_out: bool
    n_data: int
    dimensions: int
    data_noise: float
    ais_steps: int
    ais_chains: int
    seed: int
    cross_entropy_forward: float
    cross_entropy_forward_error: float
    cross_entropy_reverse: float
    cross_entropy_reverse_error: float
    gap: float
    gap_error: float
    log_z_forward: float
    log_z_forward_error: float
    log_z_reverse: float
    log_z_reverse_error: float
    ess_forward: float
    ess_reverse: float
    acceptance: float
    noise_end: float = 0.0
    mmd2: float | None = None
    mmd2_null_std: float | None = None
    mmd2_p_value: float | None = None
    ood: str | None = None
    auroc: float | None = None

    def rows(self) -> str:
        """What was evaluated, in words."""
        kind = "held-out" if self.held_out else "training"
        noise = f" with noise of {self.data_noise:g} added" if self.data_noise else ""
        return f"{self.n_data} {kind} rows{noise}"

    def bits_per_dimension(self, nats: float) -> float:
        """Of a cross-entropy."""
        return nats / self.dimensions / math.log(2)

    def summary(self) -> str:
        """Two lines on the cross-entropy."""
        low, high = self.cross_entropy_forward, self.cross_entropy_reverse
        bits = [f"{self.bits_per_dimension(nats):.4g}" for nats in (low, high)]
        return (
            f"Cross-entropy of {self.rows()}: {low:.2f} ± {self.cross_entropy_forward_error:.2f} "
            f"nats by AIS forward, {high:.2f} ± {self.cross_entropy_reverse_error:.2f} reverse "
            f"({bits[0]} and {bits[1]} bits per dimension).\n"
            f"The gap, {self.gap:.2f} ± {self.gap_error:.2f} nats, says how far to trust both; the "
            f"weights are worth {self.ess_forward:.0f} and {self.ess_reverse:.0f} "
            f"of {self.ais_chains} chains." + self._caution()
        )

    def _caution(self) -> str:
        if not self.noise_end:
            return ""
        return (
            "\nThe run denoised at several scales: its energy is the density of no noisy data, and "
            "these figures compare with no other run's."
        )

    def table(self) -> str:
        """Everything, a line each."""
        lines = [f"{self.rows()}, {self.dimensions} dimensions"]
        lines.append(f"{'':<24}{'nats':>20}{'nats/dim':>12}{'bits/dim':>12}")
        for name, nats, error in (
            ("forward", self.cross_entropy_forward, self.cross_entropy_forward_error),
            ("reverse", self.cross_entropy_reverse, self.cross_entropy_reverse_error),
        ):
            lines.append(
                f"{'cross-entropy, ' + name:<24}{f'{nats:.3f} ± {error:.3f}':>20}"
                f"{nats / self.dimensions:>12.4f}{self.bits_per_dimension(nats):>12.4f}"
            )
        for name, nats, error in (
            ("gap", self.gap, self.gap_error),
            ("log Z, forward", self.log_z_forward, self.log_z_forward_error),
            ("log Z, reverse", self.log_z_reverse, self.log_z_reverse_error),
        ):
            lines.append(f"{name:<24}{f'{nats:.3f} ± {error:.3f}':>20}")
        ess = f"{self.ess_forward:.1f} and {self.ess_reverse:.1f} of {self.ais_chains}"
        lines.append(f"{'ESS of the weights':<24}{ess:>20}")
        lines.append(f"{'acceptance':<24}{self.acceptance:>20.3f}")
        if self.mmd2 is not None:
            mmd2 = f"{self.mmd2:.5f} (std if equal {self.mmd2_null_std:.5f}"
            lines.append(f"{'MMD^2, samples and data':<24}{mmd2}, p = {self.mmd2_p_value:.3f})")
        if self.auroc is not None:
            lines.append(f"{'AUROC, ' + str(self.ood):<24}{self.auroc:>20.4f}")
        return "\n".join(lines) + self._caution()


def evaluate(
    config: TrainConfig,
    dataset: Dataset,
    energy: Callable[[Tensor], Tensor],
    chains: Tensor,
    *,
    n_steps: int | None = None,
    n_chains: int = 128,
    seed: int = 0,
    two_sample: bool = False,
    ood: str | None = None,
) -> Evaluation:
    """How good a density a run has learnt, on the data that it held out.

    An energy that is trained on data plus noise describes noisy data. So noise of
    ``config.data_noise`` is added to the held-out data too, and the cross-entropy is that of the
    sum; runs with other noise are not comparable.

    Args:
        config: of the run, resolved.
        dataset: all of the run's data.
        energy: what it learnt.
        chains: ``(m, *event)`` on the energy's device, where it has them after training; the first
            ``n_chains`` are the start of the way back, over again where there are fewer (the
            reverse error is then too small).
        n_steps: temperatures; None: ``config.ais_steps``.
        n_chains: of each direction.
        seed: of the noise and the chains; which rows are held out is the run's own affair.
        two_sample: whether to compare samples of the model with the data, by MMD; needs two rows.
        ood: data that the run should find unlikely, see :func:`out_of_distribution`.

    Raises:
        ValueError: n_chains or n_steps is below 1, or ood is not to be had; the energy is nan.
    """
    n_steps = config.ais_steps if n_steps is None else n_steps
    noise_std = config.data_noise
    assert noise_std is not None
    generator = generator_for("evaluation", seed)

    def noisy(x: Tensor) -> Tensor:
        noise = torch.randn(x.shape, generator=generator)
        return (x + noise_std * noise).to(chains)

    train, held_out = dataset.split(config.holdout, seed=config.seed)
    clean = held_out.x if len(held_out.x) else train.x
    data = noisy(clean[:_ROWS])
    data_energies = _energies(energy, data)
    ais = annealed_importance_sampling(
        energy,
        chains[torch.arange(n_chains) % len(chains)],
        gaussian_base(noisy(train.x[:_ROWS])),
        n_steps=n_steps,
        n_chains=n_chains,
        generator=generator,
    )
    forward = cross_entropy(ais.forward, data_energies)
    reverse = cross_entropy(ais.reverse, data_energies)
    more: dict[str, Any] = {}
    if two_sample:
        some, samples = data[:_ROWS_OF_KERNEL], ais.samples[:_ROWS_OF_KERNEL]
        test = kernel_two_sample(samples, some, generator=generator)
        more |= {
            "mmd2": test.mmd2,
            "mmd2_null_std": test.null_std,
            "mmd2_p_value": test.p_value,
        }
    if ood is not None:
        other = out_of_distribution(ood, clean[:_ROWS], seed=seed, generator=generator)
        other_energies = _energies(energy, noisy(other[:_ROWS]))
        more |= {"ood": ood, "auroc": auroc(data_energies, other_energies)}
    return Evaluation(
        held_out=len(held_out.x) > 0,
        n_data=len(data),
        dimensions=data[0].numel(),
        data_noise=noise_std,
        noise_end=config.noise_end,
        ais_steps=n_steps,
        ais_chains=n_chains,
        seed=seed,
        cross_entropy_forward=forward.value,
        cross_entropy_forward_error=forward.error,
        cross_entropy_reverse=reverse.value,
        cross_entropy_reverse_error=reverse.error,
        gap=ais.reverse.value - ais.forward.value,
        gap_error=math.hypot(ais.forward.error, ais.reverse.error),
        log_z_forward=ais.forward.value,
        log_z_forward_error=ais.forward.error,
        log_z_reverse=ais.reverse.value,
        log_z_reverse_error=ais.reverse.error,
        ess_forward=ais.ess_forward,
        ess_reverse=ais.ess_reverse,
        acceptance=ais.acceptance,
        **more,
    )


def _energies(energy: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([per_chain(energy(part), len(part)) for part in x.split(_CHUNK)])
