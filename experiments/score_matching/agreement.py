"""How the gradient of the parameters by finite differences nears the exact one as epsilon falls,
and where rounding parts them again."""

from __future__ import annotations

import copy
import dataclasses
import warnings

import torch
from torch import Tensor, nn

import effebm_ext as eff
from effebm_ext import losses
from effebm_ext.energies import score_of
from effebm_ext.ops.perturb import perturbed_pair
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.trainer import make_trainer
from experiments.common.records import Row

SIGMA = 0.3
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclasses.dataclass(frozen=True)
class Scale:
    """``iterations``: of training before; a fresh network is nearly flat."""

    config: TrainConfig
    epsilons: tuple[float, ...] = (3, 1, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4)
    rows: int = 256


FULL = Scale(TrainConfig(objective="ssm", chains=2, iterations=500))
QUICK = Scale(TrainConfig(objective="ssm", chains=2, iterations=2, batch_size=8), (1, 0.1), 8)


def gradient(energy: nn.Module, loss: Tensor) -> Tensor:
    grads = torch.autograd.grad(loss, list(energy.parameters()))
    return torch.cat([g.flatten() for g in grads]).double()


def projected_dsm(energy: nn.Module, x: Tensor, rng: eff.Key) -> Tensor:
    """What FD-DSM tends to: denoising seen along one direction per row."""
    pair = perturbed_pair(x, 1.0, noise_std=SIGMA, rng=rng)
    y, v = (pair.x[0] + pair.x[1]) / 2, (pair.x[0] - pair.x[1]) / 2
    along = (score_of(energy)(y) * v).flatten(1).sum(1)
    return x[0].numel() / 2 * (SIGMA**2 * along + pair.noise_dot).square().mean()


def measure(dataset: Dataset, quick: bool) -> list[Row]:
    """Relative errors of gradients, against those of float64, with the same noise."""
    scale, key = QUICK if quick else FULL, eff.Key(1)
    trainer = make_trainer(scale.config, dataset)
    for _ in range(scale.config.iterations):
        trainer.iteration()
    noise = torch.randn(dataset.x[: scale.rows].shape, generator=torch.Generator().manual_seed(0))
    x = (dataset.x[: scale.rows] + SIGMA * noise).double()
    wide = copy.deepcopy(trainer.energy).double()
    exact = {
        "fd_ssm": gradient(wide, losses.ssm(score_of(wide), x, rng=key).loss),
        "fd_dsm": gradient(wide, projected_dsm(wide, x, key)),
    }
    rows = []
    for name, dtype in DTYPES.items():
        energy, some = copy.deepcopy(wide).to(dtype), x.to(dtype)
        for epsilon in scale.epsilons:
            with warnings.catch_warnings():  # of the small ones, which is what is looked at here
                warnings.simplefilter("ignore")
                found = {
                    "fd_ssm": losses.fd_ssm(energy, some, epsilon, rng=key).loss,
                    "fd_dsm": losses.fd_dsm(energy, some, SIGMA, epsilon, rng=key).loss,
                }
            for method, loss in found.items():
                error = (gradient(energy, loss) - exact[method]).norm() / exact[method].norm()
                rows.append(
                    {"method": method, "dtype": name, "epsilon": epsilon, "error": float(error)}
                )
    return rows
