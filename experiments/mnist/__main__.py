"""Does compression help or hurt the training of an energy on MNIST, and what do its chains take?

    python -m experiments.mnist --data mnist:FOLDER --quick
    python -m experiments.mnist --data mnist:FOLDER --out FOLDER

Every arm trains by persistent contrastive divergence with the default options for images and as
many gradient evaluations, and is judged by the cross-entropy of held-out pictures plus noise, by
annealed importance sampling both ways, and by how near its chains, without the noise, are to data:
to held-out data by principal components, and to single pictures that it was trained on.
``memory.py`` counts the bytes of a chain. What was measured is in docs/mnist.md.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from effebm_ext.energies import denoise
from effebm_ext.networks import make_energy
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.options.parsing import parse_compressor
from effebm_ext.runs.trainer import make_trainer
from experiments.common.records import Log, Row, environment, plain
from experiments.digits.__main__ import gaussian_cross_entropy, judge
from experiments.images.measures import measure
from experiments.mnist import report
from experiments.mnist.memory import SETTINGS, bytes_per_chain, total
from experiments.mnist.pictures import nearest, save_neighbours

_COMPRESSORS = {
    "Top-k 1 %": "topk:0.01",
    "Top-k 10 %": "topk:0.1",
    "Block-Sign 64": "block-sign:64",
    "RandomK 10 %": "random-k:0.1",
}
_FED_BACK = {**_COMPRESSORS, "RandomK 10 %": "random-k:0.1:biased"}  # feedback needs what shrinks
# Most chains rest: eight times as many as move.
_BUFFER: dict[str, Any] = {"compressor": "none", "buffer_size": 512}
_SIGNS = {"compressor": "block-sign:64", "error_feedback": True}
_SHORT, _CODES = {"gradient_dtype": "bfloat16"}, {"buffer_dtype": "uint8"}
# The numbers of the table of memory that an arm has, where they are not float32.
NUMBERS = {
    "buffer, bfloat16 gradients": "gradients in bfloat16",
    "buffer, uint8": "float32, resting in uint8",
    "buffer, all that saves": "gradients in bfloat16, resting in uint8",
}
ARMS: dict[str, dict[str, Any]] = {
    "none": {"compressor": "none"},
    "clip 10": {"compressor": "none", "clip": "value:10"},
    **{arm: {"compressor": text} for arm, text in _COMPRESSORS.items()},
    **{
        f"{arm} + feedback": {"compressor": text, "error_feedback": True}
        for arm, text in _FED_BACK.items()
    },
    "buffer": _BUFFER,
    "buffer, Block-Sign + feedback": {**_BUFFER, **_SIGNS},
    "buffer, bfloat16 gradients": {**_BUFFER, **_SHORT},
    "buffer, uint8": {**_BUFFER, **_CODES},
    "buffer, all that saves": {**_BUFFER, **_SIGNS, **_SHORT, **_CODES},
}
_QUICK = {
    "iterations": 2, "batch_size": 8, "chains": 8, "langevin_steps": 1, "ais_steps": 2, "width": 4,
}  # fmt: skip
_LARGEST_ENERGY_GAP = 1000.0  # in nats; beyond it a run counts as diverged
_NEIGHBOURS = 500  # held-out pictures whose nearest neighbours are found


def tasks(
    base: dict[str, Any], arms: Sequence[str], seeds: int, quick: bool
) -> Iterator[tuple[str, TrainConfig]]:
    """All runs, by the names of their arms; seeds come last, so that an interrupted sweep has as
    many of one arm as of another. ``base`` has the options of all arms."""
    options = {"chains": 64, "error_feedback": False} | base
    options |= _QUICK if quick else {}
    for seed in range(seeds):
        for arm in arms:
            yield arm, TrainConfig(seed=seed, **(options | ARMS[arm]))


def run(config: TrainConfig, dataset: Dataset, picture: Path | None = None) -> Row:
    """One run, judged; its chains are drawn into ``picture`` beside the data nearest to them.
    ``seconds`` are of the processor."""
    resolved = config.resolved(dataset.kind)
    trainer, begin = make_trainer(resolved, dataset), time.process_time()
    row = judge(trainer, resolved, dataset, _LARGEST_ENERGY_GAP).row
    row["seconds"] = time.process_time() - begin
    if row["diverged"] is not None:
        return row
    samples = denoise(trainer.energy, trainer.samples.float(), resolved.removable_noise)
    data, held_out = (
        part.x for part in dataset.split(resolved.holdout, seed=resolved.seed_of_data)
    )
    row |= measure(samples, data, held_out)
    for name, x in (("samples", samples), ("held out", held_out[:_NEIGHBOURS])):
        row[f"nearest of {name}"] = float(nearest(x, data)[0].median())
    if picture is not None:
        save_neighbours(picture, samples, data)
    return row


def memory(dataset: Dataset, arms: Sequence[str], energy_name: str, quick: bool) -> list[Row]:
    """Bytes per chain of every arm, in all numbers."""
    width = _QUICK["width"] if quick else None
    energy, rows = make_energy(energy_name, dataset.event_shape, width=width), []
    for arm in arms:
        changes = ARMS[arm]
        compressor = parse_compressor(changes["compressor"])
        for setting in SETTINGS:
            fed_back = changes.get("error_feedback", False)
            found = bytes_per_chain(energy, dataset.rows[:8], setting, compressor, fed_back)
            rows.append({"arm": arm, "setting": setting, **found})
    return rows


def total_bytes(rows: list[Row], configs: dict[str, TrainConfig]) -> Iterator[tuple[str, int]]:
    """The bytes of all chains of every arm, those of ``bytes_per_chain`` times their numbers."""
    for arm, config in configs.items():
        wanted = arm, NUMBERS.get(arm, "float32")
        (row,) = (row for row in rows if (row["arm"], row["setting"]) == wanted)
        assert config.chains is not None
        yield arm, total(row, config.chains, config.buffer_size)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", required=True, help="pictures, as effebm train takes them")
@click.option("--quick", is_flag=True, help="2 iterations on the first 500 pictures")
@click.option("--energy", type=click.Choice(["conv", "resnet", "unet"]), default="conv")
@click.option("--iterations", type=click.IntRange(min=1), help="of every run")
@click.option("--ais-steps", type=click.IntRange(min=1), default=1600,
              help="temperatures of annealed importance sampling")  # fmt: skip
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(ARMS)), default=list(ARMS))
@click.option("--seeds", type=click.IntRange(min=0), default=3,
              help="runs of every kind; 0: only the table of memory")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder of results and plots; runs that are in it are not repeated")  # fmt: skip
def main(
    data: str,
    quick: bool,
    energy: str,
    iterations: int | None,
    ais_steps: int,
    arms: tuple[str, ...],
    seeds: int,
    out: Path | None,
) -> None:
    """Train on pictures with and without compression, and compare."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    dataset, log, runs = load(data), Log(out), []
    if quick:
        dataset = dataclasses.replace(dataset, rows=dataset.rows[:500])
    torch.manual_seed(0)
    found: Row = {
        "environment": environment(),
        "quick": quick,
        "arms": {arm: ARMS[arm] for arm in arms},
    }
    found["bytes_per_chain"] = memory(dataset, arms, energy, quick)
    click.echo(report.memory_table(found["bytes_per_chain"]))
    base = {"data": data, "energy": energy, "iterations": iterations, "ais_steps": ais_steps}
    found["bytes"] = dict(total_bytes(found["bytes_per_chain"], dict(tasks(base, arms, 1, quick))))
    todo = list(tasks(base, arms, seeds, quick))
    with click.progressbar(todo, item_show_func=lambda t: t and t[0]) as bar:
        for arm, config in bar:
            if (row := log.find(config)) is None:
                picture = None if out is None else out / f"{arm}, {config.seed}.png"
                row = plain(run(config, dataset, picture)) | {"config": dataclasses.asdict(config)}
                log.add(row)
            figures = {name: value for name, value in row.items() if name != "config"}
            runs.append({"arm": arm, "seed": config.seed, **figures})
    found["runs"] = runs
    splits = [config.resolved(dataset.kind) for arm, config in todo if arm == arms[0]]
    found["gaussian"] = [gaussian_cross_entropy(config, dataset) for config in splits]
    if runs:
        click.echo("\n" + report.table(found))
    if out is not None:
        (out / "results.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
        if runs:
            report.save_plot(out / "nats.png", found)
            report.save_memory_plot(out / "memory.png", found)


if __name__ == "__main__":
    main()
