"""Learning the masses of two modes that no chain crosses between: weighted walkers against
persistent chains and chains restarted at the data, with and without compression.

    python -m experiments.weighted_walkers.gaussian_mixture --quick
    python -m experiments.weighted_walkers.gaussian_mixture --out runs/gaussian_mixture

The experiment of arXiv 2305.19414, section 4.1: in d dimensions, ``E(x) = -log sum_i exp(-|x -
a_i|^2 / 2 - z_i)`` learns its a and z (z_1 stays 0) from samples of such a mixture, by plain
gradient descent on all of the data. Everything is known: Z, the masses exp(-z_i), and the law.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import click
import torch
from torch import Tensor, nn

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.objectives import Contrastive, Jarzynski
from experiments.common.records import Log, Row, environment, plain
from experiments.weighted_walkers import mixture_report as report


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes and rates; those of arXiv 2305.19414 by default."""

    dim: int = 50
    walkers: int = 10_000
    data: int = 10_000
    held_out: int = 100_000
    steps: int = 8000
    h: float = 0.1
    rate_a: float = 0.0025
    rate_z: float = 0.0125
    reset: int = 4
    reset_gain: float = 10.0
    resample_threshold: float = 0.5
    looks: int = 200
    ratio: float = 0.1
    block_size: int = 10


QUICK = Scale(dim=10, walkers=300, data=300, held_out=2000, steps=60, looks=10, block_size=5)

# How the gradient is estimated, and what drives the chains.
ARMS = {
    "Jarzynski": ("weights", None),
    "PCD": ("persistent", None),
    "CD": ("restarted", None),
    "Top-k, weights": ("weights", "top-k"),
    "Top-k, MALA + weights": ("adjusted", "top-k"),
    "Top-k, uncorrected": ("persistent", "top-k"),
    "Block-Sign, weights": ("weights", "block-sign"),
    "Block-Sign, MALA + weights": ("adjusted", "block-sign"),
    "Block-Sign, uncorrected": ("persistent", "block-sign"),
}


class Mixture(nn.Module):
    """Two Gaussians of unit width at a ``(2, d)``, of masses proportional to ``exp(-z_i)``."""

    def __init__(self, a: Tensor, z: float) -> None:
        super().__init__()
        self.a = nn.Parameter(a)
        self.z = nn.Parameter(torch.tensor(z))

    def forward(self, x: Tensor) -> Tensor:
        heights = x @ self.a.T - self.a.square().sum(1) / 2 - self._z()
        return x.square().sum(1) / 2 - torch.logsumexp(heights, 1)

    def _z(self) -> Tensor:
        return torch.stack([torch.zeros_like(self.z), self.z])

    @property
    @torch.no_grad()
    def masses(self) -> Tensor:
        return torch.softmax(-self._z().double(), 0)

    @property
    @torch.no_grad()
    def log_z(self) -> float:
        log_sum = torch.logsumexp(-self._z().double(), 0)
        return self.a.shape[1] / 2 * math.log(2 * math.pi) + float(log_sum)

    @torch.no_grad()
    def log_density(self, x: Tensor) -> Tensor:
        return -self(x).double() - self.log_z

    @torch.no_grad()
    def around(self, modes: Tensor, generator: torch.Generator) -> Tensor:
        """A sample of each of the modes, by their number ``(n,)``."""
        return self.a[modes] + torch.randn(len(modes), self.a.shape[1], generator=generator)

    def samples(self, n: int, generator: torch.Generator) -> Tensor:
        modes = torch.multinomial(self.masses, n, replacement=True, generator=generator)
        return self.around(modes, generator)


def teacher(dim: int) -> Mixture:
    a = torch.zeros(2, dim)
    a[:, 0] = torch.tensor([-10.0, 6.0])
    return Mixture(a, -math.log(3))


def student(dim: int, generator: torch.Generator) -> Mixture:
    a = 0.01 * torch.randn(2, dim, generator=generator)
    a[:, 0] = torch.tensor([-0.1, 0.1])
    return Mixture(a, 0.0)


def compressor(kind: str | None, scale: Scale) -> eff.TopK | eff.BlockSign | None:
    match kind:
        case "top-k":
            return eff.TopK(ratio=scale.ratio)
        case "block-sign":
            return eff.BlockSign(scale.block_size)
    return None


@dataclasses.dataclass(frozen=True)
class Run:
    """Of one of ARMS."""

    arm: str
    seed: int
    scale: Scale


def train(run: Run) -> Row:
    """What was seen on the way, and at the end."""
    scale, seed = run.scale, run.seed
    method, kind = ARMS[run.arm]
    generator = torch.Generator().manual_seed(seed)
    truth = teacher(scale.dim)
    data = truth.samples(scale.data, generator)
    held_out = truth.samples(scale.held_out, generator)
    energy = student(scale.dim, generator)
    sampler = (eff.MALA if method == "adjusted" else eff.Langevin)(
        energy, step_size=2 * scale.h, compressor=compressor(kind, scale)
    )
    objective: Contrastive | Jarzynski
    if method in ("weights", "adjusted"):
        x0 = energy.around(torch.arange(scale.walkers) % 2, generator)
        walkers = WeightedWalkers(
            sampler, x0, energy.log_density(x0),
            rng=eff.Key(seed), resample_threshold=scale.resample_threshold,
        )  # fmt: skip
        objective = Jarzynski(energy, walkers, langevin_steps=1)
    else:
        starts = data[torch.arange(scale.walkers) % len(data)]
        chains = PersistentChains(sampler, starts, rng=eff.Key(seed))
        objective = Contrastive(energy, chains, langevin_steps=1)
    gain = scale.reset_gain if method == "restarted" else 1.0
    optimizer = torch.optim.SGD(
        [{"params": [energy.a], "lr": gain * scale.rate_a},
         {"params": [energy.z], "lr": gain * scale.rate_z}]
    )  # fmt: skip

    true_log_density = truth.log_density(held_out)
    history: list[Row] = []
    acceptance, resampled = 0.0, 0
    for step in range(1, scale.steps + 1):
        if method == "restarted" and step % scale.reset == 1:
            objective.chains.state.x.copy_(starts)
        objective.advance()
        loss = objective.loss(data, {}).value
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        moved = objective.parameters_moved()
        acceptance += moved.get("acceptance", 0.0) / scale.steps
        resampled += int(moved.get("resampled", 0.0))
        if step % max(1, scale.steps // scale.looks) == 0 or step == scale.steps:
            history.append({"step": step, **look(energy, truth, objective, moved)})
    ratio = true_log_density - energy.log_density(held_out)
    return {
        "history": history, **history[-1],
        "kl": float(ratio.mean()), "kl_error": float(ratio.std()) / math.sqrt(len(ratio)),
        "acceptance": acceptance if method == "adjusted" else None,
        "resampled": resampled if isinstance(objective, Jarzynski) else None,
    }  # fmt: skip


def look(
    energy: Mixture, truth: Mixture, objective: Contrastive | Jarzynski, moved: dict[str, float]
) -> Row:
    """``mass``: of the first mode, 1/4 in truth. ``kl_masses``: from the true masses to the
    learned. ``distance``: of the modes from the true ones, the larger."""
    masses, true = energy.masses, truth.masses
    row: Row = {
        "mass": float(masses[0]),
        "kl_masses": float((true * (true / masses).log()).sum()),
        "distance": float((energy.a - truth.a).detach().norm(dim=1).max()),
    }
    if isinstance(objective, Jarzynski):
        row["ess"] = moved["ess"] / len(objective.chains.log_weights)
        row["log_z_error"] = objective.chains.log_z - energy.log_z
    return row


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--quick", is_flag=True, help="small, in seconds")
@click.option("--seeds", type=click.IntRange(min=1), default=3, help="runs of every arm")
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(ARMS)), help="only these")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder for results.json and the picture; finished runs in it stay")  # fmt: skip
def main(quick: bool, seeds: int, arms: tuple[str, ...], out: Path | None) -> None:
    """Learn the masses of two far modes."""
    scale = QUICK if quick else Scale()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    log, rows = Log(out), []
    runs = [Run(arm, seed, scale) for seed in range(seeds) for arm in arms or ARMS]
    with click.progressbar(runs, item_show_func=lambda r: r and f"{r.arm}, seed {r.seed}") as bar:
        for run in bar:
            if (row := log.find(run)) is None:
                row = plain(train(run)) | {"config": dataclasses.asdict(run)}
                log.add(row)
            kind = {"arm": run.arm, "seed": run.seed, "compressed": ARMS[run.arm][1]}
            rows.append(kind | {k: v for k, v in row.items() if k != "config"})
    rows.sort(key=lambda row: list(ARMS).index(row["arm"]))
    click.echo("\n" + report.table(rows))
    if out is not None:
        settings = dataclasses.asdict(scale)
        found = {"environment": environment(), "settings": settings, "runs": rows}
        (out / "results.json").write_text(json.dumps(found, allow_nan=False) + "\n")
        report.save_plot(out / "gaussian_mixture.png", rows)


if __name__ == "__main__":
    main()
