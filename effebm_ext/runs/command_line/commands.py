"""The commands beside training: ``effebm sample``, ``effebm evaluate``, ``effebm recipes``."""

from __future__ import annotations

import dataclasses
import os
import textwrap
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import cloup
import numpy as np
from torch import Tensor

from effebm_ext.runs.atomic_files import replacing
from effebm_ext.runs.command_line.bars import calls_bar, evaluation_bar
from effebm_ext.runs.command_line.cli_options import FOLDER, PATH, threads
from effebm_ext.runs.command_line.moved_data import naming_a_move
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.did_you_mean import did_you_mean
from effebm_ext.runs.evaluation.evaluate import evaluate as evaluate_energy
from effebm_ext.runs.evaluation.results import Evaluation
from effebm_ext.runs.evaluation.saved import save_evaluation
from effebm_ext.runs.folder.checkpoint import CHECKPOINT
from effebm_ext.runs.folder.restoring import other_data
from effebm_ext.runs.folder.run_files import CONFIG, EVALUATION, write_config
from effebm_ext.runs.model import TrainedModel, load_model
from effebm_ext.runs.options.fields import flag
from effebm_ext.runs.recipes import RECIPES
from effebm_ext.runs.showing import plotting
from effebm_ext.runs.showing.report_page import write_report
from effebm_ext.runs.trainer import make_dataset
from effebm_ext.training import NonFiniteError

_N_SAMPLES = 64
_UNMOVED = "the run stopped before its chains first moved, and they are still where they started"
UNMOVED_CAUTION = f"Caution: {_UNMOVED}. What goes by the chains says nothing yet."


@cloup.command()
@cloup.argument("run", type=FOLDER,
                help="Draw from the run in this folder, or from this checkpoint.")  # fmt: skip
@cloup.option("--out", type=PATH, required=True,
              help="Write the samples as a .png picture or a .npy array (n, *event).")  # fmt: skip
@cloup.option("--n", type=click.IntRange(min=1),
              help="Draw this many samples. [default: 64, at 0 steps at most all]")  # fmt: skip
@cloup.option("--steps", type=click.IntRange(min=0), default=0, show_default=True,
              help="Take this many steps; 0 means the chains as training left them.")  # fmt: skip
@cloup.option(
    "--from-noise", is_flag=True, help="Start from noise and not from the chains of the run."
)
@cloup.option(
    "--denoise", is_flag=True, help="Take the noise that was added to the data off the samples."
)
@cloup.option(
    "--label",
    metavar="CLASS",
    help="Draw samples of this class, by its number or by its name. "
    "[default: the classes of the chains]",
)
@cloup.option("--seed", type=int, help="Draw the noise of the steps from this seed. [default: 0]")
@cloup.option("--animate", type=PATH, metavar="FILE.gif",
              help="Write the samples on their way, as an animation.")  # fmt: skip
@threads()
def sample(
    run: Path,
    out: Path,
    n: int | None,
    steps: int,
    from_noise: bool,
    denoise: bool,
    label: str | None,
    seed: int | None,
    animate: Path | None,
) -> None:
    """Draw samples from a trained RUN (its folder or checkpoint). No two are the same: for more
    than the run has chains, take steps enough to move copies of the chains apart."""
    if out.suffix not in (".png", ".npy"):
        raise ValueError(f"out: expected a .png or .npy file, got {out}")
    _check_writable(out, "out")
    if animate is not None:
        if animate.suffix != ".gif" or steps == 0:
            raise ValueError(
                f"animate: expected a .gif file and at least one step, got {animate}, {steps} steps"
            )
        _check_writable(animate, "animate")
    model = load_model(run)
    of_class = None if label is None else _class_of(label, model)
    if n is None:
        n = _N_SAMPLES if steps or from_noise else min(_N_SAMPLES, model.n_chains(of_class))
    frames: list[Tensor] = []
    with calls_bar(model.energy, steps, "sampling"):
        x = model.sample(
            n, steps, seed=seed, from_noise=from_noise, clean=denoise, label=of_class,
            watch=None if animate is None else lambda x: frames.append(x.clone()),
        )  # fmt: skip
    lost = int((~x.flatten(1).isfinite().all(1)).sum())
    if lost:
        raise NonFiniteError(f"{lost} of {n} samples are not finite after {steps} steps")
    labels = model.labels(n, of_class)
    if out.suffix == ".npy":
        with replacing(out, x.nbytes) as temporary:
            np.save(temporary, x.numpy())
    else:
        figure = plotting.draw_samples(x, model.data, is_image=model.is_image, labels=labels)
        plotting.save(out, figure)
    if animate is not None:
        _animate(animate, model, frames, labels)
    shown = plotting.n_shown(x, is_image=model.is_image)
    only = f", which shows {shown} of them" if out.suffix == ".png" and shown < n else ""
    origin = _origin(model, n, steps, from_noise, of_class)
    click.echo(f"{n} samples{_named(of_class, model)} in {out}{only}: {origin}")


def _class_of(label: str, model: TrainedModel) -> int:
    """Returns the number of a class that is given by its name or by its number."""
    if model.n_classes is None:
        raise ValueError(f"label: expected none, the run is not conditional, got {label!r}")
    if label in model.class_names:
        return model.class_names.index(label)
    try:
        return int(label)
    except ValueError as error:
        known = [f"0 to {model.n_classes - 1}", *model.class_names]
        meant = did_you_mean(label, model.class_names)
        raise ValueError(f"label: expected {', '.join(known)}, got {label!r}{meant}") from error


def _named(label: int | None, model: TrainedModel) -> str:
    """Says which class is drawn, as a number may be the name of another class."""
    if label is None:
        return ""
    return f" of class {model.class_names[label]!r}" if model.class_names else f" of class {label}"


def _animate(path: Path, model: TrainedModel, frames: list[Tensor], labels: Tensor | None) -> None:
    with TemporaryDirectory() as folder:
        pictures = [Path(folder, f"{k:03d}.png") for k in range(len(frames))]
        for picture, x in zip(pictures, frames, strict=True):
            figure = plotting.draw_samples(x, model.data, is_image=model.is_image, labels=labels)
            plotting.save(picture, figure)
        plotting.save_animation(path, pictures)


def _origin(model: TrainedModel, n: int, steps: int, from_noise: bool, label: int | None) -> str:
    rested = f" ({_UNMOVED})" if model.is_before_the_first_move and not from_noise else ""
    if steps == 0:
        return f"chains as training left them{rested}"
    start = "noise" if from_noise else "chains"
    if not from_noise and n > model.n_chains(label):
        start = f"copies of {model.n_chains(label)} chains"
    return f"{start}{rested}, moved by {steps} steps"


@cloup.command()
@cloup.argument("run", type=FOLDER,
                help="Evaluate the run in this folder, or this checkpoint.")  # fmt: skip
@cloup.option("--data", metavar="SOURCE",
              help="Take the data of the run from here, where they have moved to.")  # fmt: skip
@cloup.option("--out", type=PATH, metavar="FILE",
              help="Save the evaluation in this file. [default: RUN/evaluation.json, unless the "
              "run has gone on; the evaluation of a checkpoint is not saved]")  # fmt: skip
@cloup.option(
    "--ais-steps",
    type=click.IntRange(min=1),
    help="Estimate log Z over this many temperatures. [default: as many as the run]",
)
@cloup.option("--ais-chains", type=click.IntRange(min=2), default=128, show_default=True,
              help="Use this many chains each way, shared out among classes.")  # fmt: skip
@cloup.option("--ood", metavar="SOURCE",
              help="Test whether the energy tells from the data: permuted (their elements), "
              "noise, or any source that --data of train takes; the images of a folder get the "
              "size and the background of those of the run.")  # fmt: skip
@cloup.option(
    "--seed", default=0, show_default=True, help="Draw the chains and the noise from this seed."
)
@threads()
def evaluate(
    run: Path,
    data: str | None,
    out: Path | None,
    ais_steps: int | None,
    ais_chains: int,
    ood: str | None,
    seed: int,
) -> None:
    """Tell how good a density a trained RUN (its folder or checkpoint) has learnt, on the data it
    held out."""
    if out is not None:
        _check_writable(out, "out")
    written = _written(run)
    model = load_model(run)
    config = model.config if data is None else dataclasses.replace(model.config, data=data)
    with naming_a_move(is_given=data is not None):
        dataset = make_dataset(config)
    if dataset.digest() != model.digest:
        raise other_data(config.data, moved=data is not None)
    n_steps = ais_steps or config.ais_steps or TrainConfig.ais_steps
    with evaluation_bar(model.energy, n_steps):
        evaluation = evaluate_energy(
            config,
            dataset,
            model.energy,
            model.samples,
            model.state.energy_kwargs.get("y"),
            n_steps=n_steps,
            n_chains=ais_chains,
            seed=seed,
            two_sample=True,
            ood=ood,
        )
    if model.is_before_the_first_move:
        click.echo(UNMOVED_CAUTION)
    click.echo(evaluation.table())
    if out is not None:
        save_evaluation(out, evaluation)
    elif run.is_dir():
        _save_in(run, model, written, evaluation)


def _written(run: Path) -> tuple[int, int] | None:
    """Returns what tells the checkpoint of a run from the one that takes its place; None if there
    is no folder or no checkpoint."""
    try:
        found = (run / CHECKPOINT).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _save_in(
    run: Path, model: TrainedModel, written: tuple[int, int] | None, evaluation: Evaluation
) -> None:
    """Saves an evaluation in the folder of its run, unless the run has another model by now, which
    may have an evaluation of its own there. ``written`` is of the checkpoint of the model."""
    why = f"{run} cannot be written to"
    if os.access(run, os.W_OK):
        now = model if _written(run) == written else load_model(run)
        if (now.iterations, now.config) == (model.iterations, model.config):
            save_evaluation(run / EVALUATION, evaluation)
            if not (run / CONFIG).exists():  # the page needs it, and the checkpoint has it
                write_config(run, model.config)
            write_report(run)
            return
        why = (
            f"the run has gone on meanwhile: this is its evaluation at iteration "
            f"{model.iterations}, and its checkpoint is of iteration {now.iterations}"
        )
    click.echo(f"Nothing was saved, as {why}: --out FILE saves.", err=True)


def _check_writable(path: Path, name: str) -> None:
    """Refuses a file that cannot be written, before long work for it begins; ``name`` is that of
    its option."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{name}: no such folder: {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"{name}: expected a file, {path} is a folder")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{name}: {path.parent} cannot be written to")


@cloup.command()
def recipes() -> None:
    """List the recipes: named options for training, each with its source and its options."""
    for recipe in RECIPES.values():
        click.echo(f"{recipe.name}: {recipe.about}")
        click.echo(f"  effebm train --recipe {recipe.name} --data SOURCE --out RUN")
        changed = {k: v for k, v in recipe.options.items() if v != getattr(TrainConfig, k)}
        flags = " ".join(_flag(name, value) for name, value in changed.items())
        lines = textwrap.wrap(flags, 92, break_on_hyphens=False, break_long_words=False)
        click.echo("\n".join(f"    {line}" for line in lines) + "\n")


def _flag(name: str, value: Any) -> str:
    """Returns an option as it is typed."""
    if isinstance(value, bool):
        return flag(name) if value else flag(f"no_{name}")
    return f"{flag(name)} {value}"
