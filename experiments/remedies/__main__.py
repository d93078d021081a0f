"""What takes the bias of the step size and of error feedback off chains, on targets of all kinds?

    python -m experiments.remedies --quick
    python -m experiments.remedies --out runs/remedies

Three kinds of chains run, with the same noise: ``plain``; ``thermostat``, whose noise has variance
``gamma (1 - gamma / 4 * mean c^2)``, by a running mean over the entries of the compressed gradient
c and over time, so that ``E[x grad E]`` has its right value; and ``averaged noise``. Every chain is
looked at twice: its states, and its samples ``x - gamma / 4 * residual``. All figures would be 1
for exact samples. docs/remedies.md has the findings.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import click
import torch

import effebm_ext as eff
from experiments.common.over_seeds import Mean, aligned, mean
from experiments.common.records import Row, environment, plain
from experiments.remedies.targets import N_CHAINS, TARGETS, Target

COMPRESSORS = {"none": None, "Top-k 10 %": eff.TopK(ratio=0.1), "Block-Sign 64": eff.BlockSign(64)}
KINDS = ("plain", "thermostat", "averaged noise")
_MEMORY = 500  # steps over which the thermostat remembers


def look(
    target: Target, compressor: str, kind: str, step_size: float, seed: int, *, duration: float
) -> dict[str, dict[str, float]]:
    """Runs a chain from exact samples, and returns the figures of states and of samples."""
    of, key = COMPRESSORS[compressor], eff.Key(seed)
    x = target.draw(N_CHAINS, torch.Generator().manual_seed(seed))
    residual = None if of is None else torch.zeros_like(x)
    squares = torch.zeros(N_CHAINS)
    n_steps = round(1.25 * duration / step_size)
    every = max(1, n_steps // 400)
    sums: dict[str, dict[str, float]] = {}
    n = 0
    for step in range(n_steps):
        gradient = target.gradient(x)
        noise = None
        u = gradient if residual is None else gradient + residual
        if kind == "thermostat":
            noise = (step_size * (1 - step_size / 4 * squares).clamp(min=0)).sqrt()
        eff.langevin_step_(
            x, gradient, step_size, compressor=of, residual=residual, noise_std=noise,
            averaged_noise=kind == "averaged noise", rng=key.at(step),
        )  # fmt: skip
        if kind == "thermostat":
            moved_by = u if residual is None else u - residual
            squares += max(1 / (step + 1), 1 / _MEMORY) * (moved_by.square().mean(1) - squares)
        if step >= n_steps // 5 and step % every == 0:
            shown = {"states": x}
            if residual is not None:
                shown["samples"] = x - step_size / 4 * residual
            for name, values in shown.items():
                of_name = sums.setdefault(name, {})
                for figure, value in target.figures(values).items():
                    of_name[figure] = of_name.get(figure, 0.0) + value
            n += 1
    return {
        name: {figure: value / n for figure, value in figures.items()}
        for name, figures in sums.items()
    }


def study(names: tuple[str, ...], n_seeds: int, *, quick: bool) -> list[Row]:
    """Runs all chains and returns a row for each target, compressor, step size and kind."""
    rows: list[Row] = []
    for name in names:
        target = TARGETS[name]()
        settings = itertools.product(COMPRESSORS, target.step_sizes[: 1 if quick else None], KINDS)
        for compressor, step_size, kind in settings:
            duration = 20 * step_size if quick else target.duration
            found = [
                look(target, compressor, kind, step_size, seed, duration=duration)
                for seed in range(n_seeds)
            ]
            for shown in found[0]:
                figures = {
                    figure: mean([one[shown][figure] for one in found])._asdict()
                    for figure in found[0][shown]
                }
                rows.append(
                    {"target": name, "compressor": compressor, "step_size": step_size,
                     "kind": kind, "shown": shown, "figures": figures}
                )  # fmt: skip
    return rows


def table(rows: list[Row]) -> str:
    """Returns the figures, one line each, with their standard errors over seeds."""
    lines = [["target", "compressor", "step size", "chain", "looked at", "figures"]]
    for row in rows:
        figures = [
            f"{name} {Mean(**value).value:.3f} ± {Mean(**value).error:.3f}"
            for name, value in row["figures"].items()
        ]
        line = [row["target"], row["compressor"], f"{row['step_size']:g}", row["kind"]]
        lines.append([*line, row["shown"], ", ".join(figures)])
    return aligned(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--quick", is_flag=True, help="a few steps of every chain, in seconds")
@click.option("--target", "targets", multiple=True, type=click.Choice(list(TARGETS)),
              default=tuple(TARGETS), help="only these")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=2), default=4, help="number of seeds")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="folder for results")
def main(quick: bool, targets: tuple[str, ...], seeds: int, out: Path | None) -> None:
    """Compare remedies for the bias of the step size and of error feedback."""
    rows = plain(study(targets, 2 if quick else seeds, quick=quick))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        found = {"environment": environment(), "runs": rows}
        (out / "results.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    click.echo(table(rows))


if __name__ == "__main__":
    main()
