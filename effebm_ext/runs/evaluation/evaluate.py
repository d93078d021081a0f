"""The evaluation of a run: how good a density it has learnt."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from effebm_ext.energies import energy_and_gradient, frozen
from effebm_ext.evaluation.ais import annealed_by_class, gaussian_base
from effebm_ext.evaluation.kernel_two_sample import kernel_two_sample, median_distance
from effebm_ext.evaluation.mixture import (
    labelled_cross_entropy,
    mean_over_classes,
    mixture_cross_entropy,
    negative_log_density,
)
from effebm_ext.evaluation.ranking import auroc
from effebm_ext.evaluation.virial import virial
from effebm_ext.rng import generator_for
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.evaluation.bias import stein_discrepancy
from effebm_ext.runs.evaluation.classes import Classes, in_proportion, share_out
from effebm_ext.runs.evaluation.ood import out_of_distribution
from effebm_ext.runs.evaluation.results import ClassEvaluation, Evaluation

_ROWS = 10_000  # at most this many rows are evaluated
_ROWS_OF_KERNEL = 1000


def evaluate(
    config: TrainConfig,
    dataset: Dataset,
    energy: Callable[..., Tensor],
    chains: Tensor,
    labels: Tensor | None = None,
    *,
    n_steps: int | None = None,
    n_chains: int = 128,
    seed: int = 0,
    two_sample: bool = False,
    ood: str | None = None,
) -> Evaluation:
    """Evaluates how good a density a run has learnt, on the data that it held out.

    An energy that is trained on data plus noise describes noisy data. So noise of
    ``config.data_noise`` is added to the held-out data too, and the cross-entropy belongs to the
    sum. Runs with different noise cannot be compared. The density is ``exp(-E / T)``, where T is
    the temperature of the chains.

    In a conditional run every class has a log Z of its own, found by its share of the chains. The
    density is the mixture of the classes, each as frequent as in training
    (:mod:`effebm_ext.evaluation.mixture`).

    Args:
        config: the resolved configuration of the run.
        dataset: all data of the run.
        energy: the learnt energy; a conditional energy takes labels, ``energy(x, y)``.
        chains: the chains after training, ``(m, *event)`` on the energy's device. The way back
            begins at the first ``n_chains`` of them, or at all if there are fewer. If there are
            fewer than two (of a class), it begins at data.
        labels: the labels of the chains in a conditional run, int64 ``(m,)``.
        n_steps: the number of temperatures; None: ``config.ais_steps``.
        n_chains: the number of chains in each direction, shared out among the classes, with at
            least 8 for each.
        seed: the seed of the noise and the chains; the held-out rows do not depend on it.
        two_sample: whether to compare samples of the model with the data, by MMD, if there are two
            rows or more. It is left out if half of all pairs of rows are equal, as the median of
            their distances is the width of its kernel.
        ood: data that the run should find unlikely, see :func:`out_of_distribution`; a folder of
            images gets the size of the run's images, and its ``background``.

    Raises:
        ValueError: n_chains or n_steps is below 1, or ood cannot be read; chains or energies are
            not finite; the run is conditional, and chains or data have no labels.
    """
    n_steps = config.ais_steps if n_steps is None else n_steps
    noise_std = config.data_noise
    generator = generator_for("evaluation", seed)

    def noisy(x: Tensor) -> Tensor:
        noise = torch.randn(x.shape, generator=generator)
        return (x + noise_std * noise).to(chains)

    if not bool(chains.isfinite().all()):
        raise ValueError("chains: expected finite values")
    classes = Classes(config, dataset, tempered(energy, config.chain_temperature), chains, labels)
    train, held_out = classes.dataset.split(config.holdout, seed=config.seed_of_data)
    kept = held_out if len(held_out.rows) else train
    draw_others = None
    if ood is not None:
        draw_others = out_of_distribution(
            ood, kept.rows[:_ROWS], seed=seed, background=config.background
        )
    data = noisy(kept.rows[:_ROWS])
    energies = classes.energies(data)
    base = gaussian_base(noisy(train.rows[:_ROWS]))
    shares = classes.shares(train)
    counts = share_out(n_chains, shares)
    starts, from_data = classes.starts(counts, noisy)
    positions = torch.arange(len(starts)).repeat_interleave(torch.tensor([*map(len, starts)]))
    positions = positions.to(chains.device)
    with frozen(energy):
        runs = annealed_by_class(
            classes.energy, torch.cat(starts), positions, base,
            n_steps=n_steps, n_chains=counts, generator=generator,
        )  # fmt: skip
    more: dict[str, Any] = {}
    if two_sample and len(data) > 1:
        some, samples = data[:_ROWS_OF_KERNEL], in_proportion(runs, shares, _ROWS_OF_KERNEL)
        bandwidth = median_distance(samples, some)
        if bandwidth != 0:
            test = kernel_two_sample(samples, some, bandwidth=bandwidth, generator=generator)
            more |= {
                "mmd2": test.mmd2,
                "mmd2_null_std": test.null_std,
                "mmd2_p_value": test.p_value,
            }
    if draw_others is not None:
        log_z = [run.bennett for run in runs]
        others = classes.energies(noisy(draw_others(generator)[:_ROWS]))
        scores = [negative_log_density(log_z, shares, e) for e in (energies, others)]
        more |= {"ood": ood, "auroc": auroc(*scores)}
    for way in ("bennett", "forward", "reverse"):
        log_z = [getattr(run, way) for run in runs]
        found = {
            "cross_entropy": mixture_cross_entropy(log_z, shares, energies),
            "log_z": mean_over_classes(log_z, shares),
        }
        if config.conditional:
            of_rows = classes.positions(kept)[:_ROWS].to(energies.device)
            found["cross_entropy_given_label"] = labelled_cross_entropy(log_z, energies, of_rows)
        more |= {f"{name}_{way}": estimate.value for name, estimate in found.items()}
        more |= {f"{name}_{way}_error": estimate.error for name, estimate in found.items()}
    if config.conditional:
        more["classes"] = tuple(
            ClassEvaluation(y, share, *run.forward, *run.reverse, *run.bennett, name)
            for y, share, run, name in zip(
                classes.labels.tolist(), shares.tolist(), runs, classes.names(), strict=True
            )
        )
    samples = torch.cat([run.samples for run in runs])
    gradient = energy_and_gradient(classes.energy, samples, {"position": positions})[1]
    settled = virial(samples, gradient, centre=base[0])
    stein = None
    if bool(gradient.isfinite().all()):
        stein = stein_discrepancy(samples, gradient, generator_for("stein", seed))
    if stein is not None:
        more |= {"ksd": stein.ksd, "ksd_error": stein.error, "ksd_p_value": stein.p_value}
    gaussian = torch.distributions.Normal(*base).log_prob(data).flatten(1).sum(1)
    return Evaluation(
        held_out=len(held_out.rows) > 0,
        n_data=len(data),
        dimensions=data[0].numel(),
        data_noise=noise_std,
        noise_end=config.noise_end,
        temperature=config.chain_temperature,
        bounds=config.bounds,
        conditional=config.conditional,
        ais_steps=n_steps,
        ais_chains=sum(counts),
        ais_chains_reverse=len(positions),
        seed=seed,
        gap=more["log_z_reverse"] - more["log_z_forward"],
        gap_error=math.hypot(more["log_z_forward_error"], more["log_z_reverse_error"]),
        ess_forward=sum(run.ess_forward for run in runs),
        ess_reverse=sum(run.ess_reverse for run in runs),
        acceptance=runs[0].acceptance,
        virial=settled.value,
        virial_error=settled.error,
        reverse_from_data=from_data,
        cross_entropy_gaussian=-float(gaussian.double().mean()),
        **more,
    )


def tempered(energy: Callable[..., Tensor], temperature: float) -> Callable[..., Tensor]:
    """Returns the energy over the temperature, of which ``exp(-E)`` is the density."""
    if temperature == 1:
        return energy
    return lambda x, **labels: energy(x, **labels) / temperature
