"""One run: an energy learnt by score matching, and what it finds unlikely."""

from __future__ import annotations

import dataclasses
import functools
import time

import torch
from torch import Tensor, nn

from effebm_ext.energies import energy_and_gradient
from effebm_ext.rng import generator_for
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.trainer import make_trainer
from experiments.common.records import Row, plain
from experiments.out_of_distribution.detection import by_all_scores, others

GAUSSIAN = "gaussian"
OBJECTIVES = ("dsm", "fd-dsm", "ssm", "ssm-vr", "fd-ssm")
SIGMA = 0.3
HOLDOUT = 0.1
WIDTH = 8
_CHUNK = 500
_ROWS_OF_GAUSSIAN = 10_000


@dataclasses.dataclass(frozen=True)
class Task:
    """One run.

    Attributes:
        data, other: the set that is learnt, and the other one, as ``effebm train --data`` has them.
        arm: one of OBJECTIVES, or GAUSSIAN, the Gaussian of the mean and the covariance of the
            noisy data, which needs no training.
        seed: of the run and of the held-out pictures.
        iterations, batch_size: of the training.
        pictures: the first of either set that are used; None: all.
        rows: the number of pictures of each kind that are judged.
    """

    data: str
    other: str
    arm: str
    seed: int
    iterations: int = 1000
    batch_size: int = 64
    pictures: int | None = None
    rows: int = 1000

    def config(self) -> TrainConfig:
        """Returns the configuration of the training. All objectives learn the density of pictures
        plus noise of SIGMA; the two chains move once, at the end."""
        return TrainConfig(
            data=self.data, objective=self.arm, seed=self.seed, data_noise=SIGMA,
            holdout=HOLDOUT, iterations=self.iterations, batch_size=self.batch_size,
            checkpoint_every=self.iterations, langevin_steps=1, chains=2,
            energy="conv", width=WIDTH, learning_rate=3e-3,
        )  # fmt: skip


class GaussianEnergy(nn.Module):
    """The energy of the Gaussian with the mean and the covariance of pictures plus noise.

    Args:
        x: pictures ``(n, *event)``, without the noise.
        sigma: the standard deviation of the noise.
    """

    def __init__(self, x: Tensor, sigma: float) -> None:
        super().__init__()
        flat = x.flatten(1).double()
        covariance = flat.T.cov() + sigma**2 * torch.eye(flat.shape[1], dtype=torch.float64)
        self.register_buffer("mean", flat.mean(0).float())
        self.register_buffer("precision", torch.linalg.inv(covariance).float())

    def forward(self, x: Tensor) -> Tensor:
        rest = x.flatten(1) - self.mean
        return ((rest @ self.precision) * rest).sum(1) / 2


@functools.lru_cache(maxsize=2)
def pictures(source: str, first: int | None) -> Dataset:
    """Returns the first pictures of a set, or all."""
    dataset = load(source)
    return dataset if first is None else dataclasses.replace(dataset, rows=dataset.rows[:first])


def score_matching_loss(energy: nn.Module, x: Tensor, noise: Tensor) -> float:
    """Returns an unbiased estimate of the exact score matching loss ``E[tr grad s + |s|^2 / 2]`` of
    pictures x plus noise, by ``E[tr grad s(y)] = E[s(y).xi] / sigma`` for ``y = x + sigma xi``
    (integration by parts)."""
    total = 0.0
    for some, xi in zip(x.split(_CHUNK), noise.split(_CHUNK), strict=True):
        s = -energy_and_gradient(energy, some + SIGMA * xi)[1]
        total += float((s.square() / 2 + s * xi / SIGMA).double().sum())
    return total / len(x)


def train(task: Task, dataset: Dataset) -> tuple[nn.Module, float]:
    """Returns the energy, and the seconds of processor time that its training took."""
    begin = time.process_time()
    if task.arm == GAUSSIAN:
        learnt = dataset.split(HOLDOUT, seed=task.seed)[0]
        return GaussianEnergy(learnt.rows[:_ROWS_OF_GAUSSIAN], SIGMA), time.process_time() - begin
    trainer = make_trainer(task.config(), dataset)
    for _ in range(task.iterations):
        trainer.iteration()
    return trainer.model, time.process_time() - begin


def run(task: Task) -> Row:
    """Trains and judges. All pictures have the noise of the training when they are judged."""
    own, other = (pictures(source, task.pictures) for source in (task.data, task.other))
    energy, seconds = train(task, own)
    learnt, held_out = (d.rows for d in own.split(HOLDOUT, seed=task.seed))
    foreign = other.split(HOLDOUT, seed=task.seed)[1].rows
    n = min(task.rows, len(held_out) // 2, len(foreign))
    generator = generator_for("out of distribution", task.seed)
    normal = functools.partial(torch.randn, generator=generator)
    x, rest = held_out[:n], held_out[n : 2 * n]
    noise = normal(x.shape)
    energies = _energies(energy, x + SIGMA * noise)
    of_others = {
        kind: _energies(energy, pics + SIGMA * normal(pics.shape))
        for kind, pics in others(rest, foreign[:n], generator).items()
    }
    typical = learnt[:n]
    of_training = float(_energies(energy, typical + SIGMA * normal(typical.shape)).mean())
    return plain({
        "rows": n,
        "core_seconds": seconds,
        "loss": score_matching_loss(energy, x, noise),
        "detection": by_all_scores(energies, of_others, of_training),
    })  # fmt: skip


def _energies(energy: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([energy(some).view(-1) for some in x.split(_CHUNK)]).double()
