"""What do the default options make of images, with and without compression, beside other libraries?

    python -m experiments.images --quick
    python -m experiments.images --data fashion-mnist:FOLDER --out runs/images/fashion
    python -m experiments.images --data crops.npy --arm ours --out runs/images/crops

The arms ``ours`` and ``no compression`` are runs as ``effebm train`` makes them, each in its own
folder. The other libraries train for as many seconds of the processor as the run of ``ours`` took
by the clock, or as ``--seconds`` says, with the settings that they document. The samples of all
arms are 64 images; those of ours are the chains, without the noise that was added to the data.
docs/images.md has the findings.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch
from torch import Tensor

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.folder.checkpoint import CHECKPOINT
from effebm_ext.runs.folder.metrics_log import read_metrics
from effebm_ext.runs.folder.run_files import EVALUATION, METRICS
from effebm_ext.runs.model import load_model
from effebm_ext.runs.showing import plotting
from effebm_ext.runs.trainer import make_trainer
from effebm_ext.runs.training.run_folder import RunFolder
from experiments.common.over_seeds import aligned
from experiments.common.records import Row, environment, plain, source_name
from experiments.images.crops import crops
from experiments.images.measures import denoising_loss, measure
from experiments.images.peers import N_SAMPLES, PEERS

OURS = {"ours": {}, "no compression": {"compressor": "none", "error_feedback": False}}
ARMS = (*OURS, *PEERS)
_QUICK = {"energy": "conv", "iterations": 2, "batch_size": 4, "chains": 4, "langevin_steps": 1,
          "ais_steps": 2}  # fmt: skip


def train_ours(config: TrainConfig, dataset: Dataset, path: Path) -> tuple[Tensor, Row]:
    """Trains into a folder, unless the whole run is there, and returns images and figures.

    Raises:
        click.UsageError: as :func:`is_whole`.
    """
    if not is_whole(config, dataset, path):
        RunFolder(path, overwrite=True).train(config, dataset, make_trainer(config, dataset))
    model = load_model(path)
    metrics = read_metrics(path / METRICS, model.config.iterations)
    late = metrics[-50:]
    noisy_std = float(np.hypot(float(dataset.x.std(correction=0)), model.config.data_noise))
    found = json.loads((path / EVALUATION).read_text())
    samples = model.sample(min(N_SAMPLES, model.n_chains()), 0, clean=True)
    parts = dataset.split(model.config.holdout, seed=model.config.seed_of_data)
    losses = [denoising_loss(model.energy, part.x, model.config.data_noise) for part in parts]
    return samples, {
        "iterations": metrics[-1]["iteration"],
        "seconds": metrics[-1]["seconds"],
        "chain_spread": sum(m["chain_std"] for m in late) / len(late) / noisy_std,
        "energy_gap": sum(m["energy_gap"] for m in late) / len(late),
        "bennett": found.get("cross_entropy_bennett"),  # not of runs of earlier releases
        "forward": found["cross_entropy_forward"],
        "reverse": found["cross_entropy_reverse"],
        "virial": found["virial"],
        "denoising_loss": dict(zip(("trained on", "held out"), losses, strict=True)),
    }


def is_whole(config: TrainConfig, dataset: Dataset, path: Path) -> bool:
    """Returns whether a folder has the whole run of a configuration.

    Raises:
        click.UsageError: it has a run of another configuration or of other data.
    """
    if not (path / CHECKPOINT).exists():
        return False
    model, wanted = load_model(path), config.resolved(dataset.kind)
    names = [field.name for field in dataclasses.fields(wanted) if field.name != "data"]
    other = [name for name in names if getattr(model.config, name) != getattr(wanted, name)]
    if model.digest != dataset.digest():  # the data themselves, wherever they lie
        other.insert(0, "data")
    if other:
        raise click.UsageError(
            f"out: {path} has a run of other {', '.join(other)}: expected another folder"
        )
    return model.iterations == wanted.iterations and (path / EVALUATION).exists()


def seconds_of_ours(config: TrainConfig, dataset: Dataset, path: Path) -> float:
    """Returns the seconds, of the clock, that the training of the run in a folder took.

    Raises:
        click.UsageError: the folder has no whole run, or another one.
    """
    if not is_whole(config, dataset, path):
        raise click.UsageError(
            "seconds: expected --seconds, or the arm ours, whose time the others take, got "
            f"neither, and no whole run in {path}"
        )
    iterations = config.resolved(dataset.kind).iterations
    seconds: float = read_metrics(path / METRICS, iterations)[-1]["seconds"]
    return seconds


def table(rows: list[Row]) -> str:
    """Returns the figures of all runs, one line each."""
    lines = [["arm", "seed", "iterations", "seconds", "spread", "distance", "of data"]]
    for row in rows:
        distance = "-" if row["distance"] is None else f"{row['distance']:.1f}"
        figures = [f"{row['spread']:.2f}", distance, f"{row['floor']:.1f}"]
        counts = [str(row["seed"]), str(row["iterations"]), f"{row['seconds']:.0f}"]
        lines.append([row["arm"], *counts, *figures])
    return aligned(lines)


def run(
    config: TrainConfig, arms: tuple[str, ...], dataset: Dataset, out: Path, seconds: float | None
) -> list[Row]:
    """Trains every arm from the seed of ``config``, and returns a row of figures of each."""
    train, held_out = dataset.split(config.holdout, seed=config.seed)
    if seconds is None and "ours" not in arms and any(arm in PEERS for arm in arms):
        seconds = seconds_of_ours(config, dataset, out / f"ours-{config.seed}")
    rows: list[Row] = []
    for arm in arms:
        name = f"{arm.replace(' ', '-')}-{config.seed}"
        if arm in OURS:
            changed = dataclasses.replace(config, **OURS[arm])
            samples, figures = train_ours(changed, dataset, out / name)
            if arm == "ours" and seconds is None:
                seconds = figures["seconds"]
        else:
            assert seconds is not None  # ours comes first
            samples, n = PEERS[arm](train.x, seconds, config.seed)
            figures = {"iterations": n, "seconds": seconds}
        row = {"arm": arm, "seed": config.seed, **figures}
        rows.append(plain(row | measure(samples, train.x, held_out.x)))
        figure = plotting.draw_samples(samples.nan_to_num(), train.x, is_image=True)
        plotting.save(out / f"{name}.png", figure)
    return rows


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--quick", is_flag=True, help="two iterations of a small network on a few crops, in seconds"
)
@click.option("--data", help="data as effebm train takes them")
@click.option("--arm", "arms", multiple=True, type=click.Choice(ARMS), default=ARMS,
              help="what to train; ours comes first, since others take its time, or else that of "
              "its run in --out")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(min=0),
              help="processor seconds of each other library; else as many as ours took by the "
              "clock")  # fmt: skip
@click.option("--seed", default=0, help="seed of the runs and of the held-out data")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder of the runs, of pictures and figures; whole runs are kept")  # fmt: skip
def main(
    quick: bool,
    data: str | None,
    arms: tuple[str, ...],
    seconds: float | None,
    seed: int,
    out: Path | None,
) -> None:
    """Train on images and compare."""
    if data is None and not quick:
        raise click.UsageError("expected --data SOURCE, or --quick")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) if out is None else out
        folder.mkdir(parents=True, exist_ok=True)
        if quick:
            data = str(folder / "crops.npy")
            np.save(data, crops(40))
        config = TrainConfig(data=data, seed=seed, **(_QUICK if quick else {}))
        torch.manual_seed(seed)
        arms = tuple(arm for arm in ARMS if arm in arms)
        rows = run(config, arms, load(config.data, seed=seed), folder, seconds)
        found = {"environment": environment(), "data": source_name(data), "runs": rows}
        text = json.dumps(found, indent=1, allow_nan=False)
        (folder / f"results-{seed}.json").write_text(text + "\n")
    click.echo(table(rows))


if __name__ == "__main__":
    main()
