"""Does compression help or hurt the training of an energy on MNIST, and what do its chains take?

    python -m experiments.mnist --data mnist:FOLDER --quick
    python -m experiments.mnist --data mnist:FOLDER --out FOLDER

Every arm trains by persistent contrastive divergence with the default options for images and as
many gradient evaluations, and is judged by the cross-entropy of held-out pictures plus noise, by
annealed importance sampling both ways. ``memory.py`` counts the bytes of a chain. What was measured
is in docs/mnist.md.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch

from effebm_ext.networks import make_energy
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.options.parsing import parse_compressor
from effebm_ext.runs.trainer import make_trainer
from experiments.common.records import Log, Row, environment
from experiments.digits.__main__ import gaussian_cross_entropy, judge
from experiments.mnist import report
from experiments.mnist.memory import SETTINGS, bytes_per_chain

_COMPRESSORS = {
    "Top-k 1 %": "topk:0.01",
    "Top-k 10 %": "topk:0.1",
    "Block-Sign 64": "block-sign:64",
    "RandomK 10 %": "random-k:0.1",
}
_FED_BACK = {**_COMPRESSORS, "RandomK 10 %": "random-k:0.1:biased"}  # feedback needs what shrinks
ARMS: dict[str, dict[str, Any]] = {
    "none": {"compressor": "none"},
    "clip 10": {"compressor": "none", "clip": "value:10"},
    **{arm: {"compressor": text} for arm, text in _COMPRESSORS.items()},
    **{
        f"{arm} + feedback": {"compressor": text, "error_feedback": True}
        for arm, text in _FED_BACK.items()
    },
}
_QUICK = {
    "iterations": 2, "batch_size": 8, "chains": 8, "langevin_steps": 1, "ais_steps": 2, "width": 4,
}  # fmt: skip


def tasks(data: str, seeds: int, quick: bool) -> Iterator[tuple[str, TrainConfig]]:
    """All runs, by the names of their arms; seeds come last, so that an interrupted sweep has as
    many of one arm as of another."""
    options = {"chains": 64, "ais_steps": 400, "error_feedback": False} | (_QUICK if quick else {})
    for seed in range(seeds):
        for arm, changes in ARMS.items():
            yield arm, TrainConfig(data=data, energy="conv", seed=seed, **(options | changes))


def run(config: TrainConfig, dataset: Dataset) -> Row:
    """One run, judged."""
    resolved = config.resolved(dataset.kind)
    return judge(make_trainer(resolved, dataset), resolved, dataset).row


def memory(dataset: Dataset, quick: bool) -> list[Row]:
    """Bytes per chain of every arm, in all numbers."""
    width = _QUICK["width"] if quick else None
    energy, rows = make_energy("conv", dataset.event_shape, width=width), []
    for arm, changes in ARMS.items():
        compressor = parse_compressor(changes["compressor"])
        for setting in SETTINGS:
            fed_back = changes.get("error_feedback", False)
            found = bytes_per_chain(energy, dataset.rows[:8], setting, compressor, fed_back)
            rows.append({"arm": arm, "setting": setting, **found})
    return rows


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", required=True, help="pictures, as effebm train takes them")
@click.option("--quick", is_flag=True, help="2 iterations on the first 500 pictures")
@click.option("--seeds", type=click.IntRange(min=0), default=3,
              help="runs of every kind; 0: only the table of memory")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder of results and plot; runs that are in it are not repeated")  # fmt: skip
def main(data: str, quick: bool, seeds: int, out: Path | None) -> None:
    """Train on pictures with and without compression, and compare."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    dataset, log, runs = load(data), Log(out), []
    if quick:
        dataset = dataclasses.replace(dataset, rows=dataset.rows[:500])
    torch.manual_seed(0)
    found: Row = {"environment": environment(), "quick": quick, "arms": ARMS}
    found["bytes_per_chain"] = memory(dataset, quick)
    click.echo(report.memory_table(found["bytes_per_chain"]))
    with click.progressbar(
        list(tasks(data, seeds, quick)), item_show_func=lambda t: t and t[0]
    ) as bar:
        for arm, config in bar:
            if (row := log.find(config)) is None:
                row = run(config, dataset) | {"config": dataclasses.asdict(config)}
                log.add(row)
            figures = {name: value for name, value in row.items() if name != "config"}
            runs.append({"arm": arm, "seed": config.seed, **figures})
    found["runs"] = runs
    splits = [c.resolved(dataset.kind) for arm, c in tasks(data, seeds, quick) if arm == "none"]
    found["gaussian"] = [gaussian_cross_entropy(config, dataset) for config in splits]
    if runs:
        click.echo("\n" + report.table(found))
    if out is not None:
        (out / "results.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
        if runs:
            report.save_plot(out / "mnist.png", found)


if __name__ == "__main__":
    main()
