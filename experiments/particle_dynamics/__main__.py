"""Do particles that move with the change of the energy learn a better density than chains that do
not?

    python -m experiments.particle_dynamics --quick
    python -m experiments.particle_dynamics --out runs/particle-dynamics

The planar experiment of arXiv 2111.13772: eight Gaussians, and the log-likelihood of what was
learnt, which in the plane can be summed on a grid (``plane.py``). Table and plot are in
``particle_dynamics_report.py``.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.restart import Restart
from effebm_ext.objectives import Contrastive, ParticleDynamics
from effebm_ext.runs.options.parsing import parse_compressor
from effebm_ext.training import NonFiniteError, Trainer
from experiments.common.records import Log, Row, environment
from experiments.particle_dynamics import report
from experiments.particle_dynamics.plane import BasedEnergy, Grid, draw


@dataclasses.dataclass(frozen=True)
class Setting:
    """One run, at the source's size. ``move``: alpha, beta or none; ``temperature``: of the chains,
    whose noise has the variance ``step_size * temperature``."""

    seed: int = 0
    move: str = "none"
    corrected: bool = False
    langevin_steps: int = 10
    step_size: float = 0.01
    temperature: float = 1.0
    compressor: str = "none"
    error_feedback: bool = False
    buffer_size: int = 0
    restart_probability: float = 0.0
    iterations: int = 10_000
    particles: int = 1000
    batch_size: int = 1000
    initial_steps: int = 1000
    hidden: int = 300
    learning_rate: float = 1e-4
    rows: int = 100_000
    looks: int = 20
    grid: int = 256


QUICK: dict[str, Any] = {
    "iterations": 8, "particles": 20, "batch_size": 20, "initial_steps": 5, "hidden": 16,
    "rows": 200, "looks": 2, "grid": 65,
}  # fmt: skip
# As in the source, chains that do not follow get twice the steps, annealed ones descend more
# than they diffuse. In the plane Top-1 is to move along the steeper axis alone.
ARMS: dict[str, dict[str, Any]] = {
    "alpha": {"move": "alpha"},
    "beta": {"move": "beta"},
    "alpha, corrected": {"move": "alpha", "corrected": True},
    "PCD": {"langevin_steps": 20},
    "replay, annealed": {
        "langevin_steps": 20, "step_size": 0.1, "temperature": 0.1, "restart_probability": 0.1,
        "buffer_size": 10_000,
    },
    "alpha, Top-1": {"move": "alpha", "compressor": "topk:1"},
    "alpha, Top-1 + feedback": {
        "move": "alpha", "compressor": "topk:1", "error_feedback": True,
    },
}  # fmt: skip


def tasks(
    scale: dict[str, Any], seeds: int, arms: tuple[str, ...]
) -> Iterator[tuple[str, Setting]]:
    """All runs, by the names of their arms; seeds come last, as interrupted sweeps should have as
    many of one arm as of another."""
    for seed in range(seeds):
        for arm in arms or ARMS:
            yield arm, Setting(**{"seed": seed} | scale | ARMS[arm])


def make_trainer(setting: Setting) -> Trainer:
    """As :func:`effebm_ext.runs.trainer.make_trainer` does it for configurations."""
    generator = torch.Generator().manual_seed(setting.seed)
    data = draw(setting.rows, generator)
    mean, std = data.mean(0), data.std(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        energy = BasedEnergy(mean, std, setting.hidden)
    sampler = eff.Langevin(
        energy, step_size=setting.step_size, temperature=setting.temperature,
        compressor=parse_compressor(setting.compressor), error_feedback=setting.error_feedback,
    )  # fmt: skip

    def base(n: int) -> torch.Tensor:
        return mean + std * torch.randn(n, 2, generator=generator)

    key, objective = eff.Key(setting.seed), Contrastive
    if setting.buffer_size:
        chains = ReplayBuffer(
            sampler, base(max(setting.buffer_size, setting.particles)), rng=key,
            n_chains=setting.particles, generator=generator,
            restart=Restart(setting.restart_probability, base, generator),
        )  # fmt: skip
        objective = Contrastive(energy, chains, langevin_steps=setting.langevin_steps)
    else:
        chains = PersistentChains(sampler, base(setting.particles), rng=key)
        chains.advance(setting.initial_steps)
        objective = Contrastive(energy, chains, langevin_steps=setting.langevin_steps)
        if setting.move != "none":
            objective = ParticleDynamics(
                energy, chains, langevin_steps=setting.langevin_steps, move=setting.move,
                corrected=setting.corrected,
            )  # fmt: skip
    optimizer = torch.optim.Adam(energy.parameters(), lr=setting.learning_rate, betas=(0.0, 0.999))
    return Trainer(
        energy, optimizer, objective, data, batch_size=setting.batch_size, generator=generator
    )


def run(setting: Setting, grid: Grid) -> Row:
    """Trains, with a look at the density from time to time; ``diverged`` says why where it ended
    early. ``energy_of_chains``: above that of the model, where the chains lag behind or stray."""
    trainer, curve, seen = make_trainer(setting), [], []
    every = max(1, setting.iterations // setting.looks)
    started = time.monotonic()
    try:
        for iteration in range(1, setting.iterations + 1):
            seen.append(trainer.iteration())
            if iteration % every == 0:
                curve.append([iteration, grid.fit(trainer.energy).log_likelihood])
    except NonFiniteError as error:
        return {"diverged": str(error), "curve": curve}
    seconds = time.monotonic() - started
    fit = grid.fit(trainer.energy)
    last = seen[-max(1, len(seen) // 10) :]

    def late(name: str) -> float | None:
        return sum(m[name] for m in last) / len(last) if name in last[0] else None

    with torch.no_grad():
        of_chains = float(trainer.energy(trainer.chains.state.x).mean())
    return {
        "diverged": None,
        "log_likelihood": fit.log_likelihood,
        "edge": fit.edge,
        "energy_of_chains": of_chains - fit.model_energy,
        "move_rms": late("move_rms"),
        "step_correction": late("step_correction"),
        "curve": curve,
        "iterations_per_second": round(setting.iterations / seconds, 2),
        "density": report.density(trainer.energy),
    }


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--quick", is_flag=True, help="a few iterations of a small energy, in seconds")
@click.option("--seeds", type=click.IntRange(min=1), default=3, help="runs of every arm")
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(ARMS)),
              help="these arms alone; may be given more than once")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder of results and plot; runs that are in it are not repeated")  # fmt: skip
def main(quick: bool, seeds: int, arms: tuple[str, ...], out: Path | None) -> None:
    """Train on eight Gaussians with and without moving the particles with the energy."""
    scale = QUICK if quick else {}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    grid, log = Grid(Setting(**scale).grid), Log(out)
    runs = []
    todo = list(tasks(scale, seeds, arms))
    with click.progressbar(todo, item_show_func=lambda t: t and t[0]) as bar:
        for arm, setting in bar:
            if (row := log.find(setting)) is None:
                row = run(setting, grid) | {"config": dataclasses.asdict(setting)}
                log.add(row)
            runs.append({"arm": arm, "seed": setting.seed} | row)
    found = {
        "environment": environment(),
        "settings": {"arms": ARMS, "base": dataclasses.asdict(Setting(**scale))},
        "optimum": grid.optimum(),
        "runs": [{k: v for k, v in r.items() if k not in ("config", "density")} for r in runs],
    }
    click.echo("\n" + report.table(found))
    if out is not None:
        (out / "results.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
        report.save_plot(out / "particle_dynamics.png", runs, found["optimum"])


if __name__ == "__main__":
    main()
