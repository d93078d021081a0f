"""The command line: ``effebm`` with train, sample, evaluate, bias, recipes and info."""

from __future__ import annotations

import dataclasses
import io
import signal
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

import torch

import effebm_ext
from effebm_ext import _C, extension

try:
    import click
    import cloup
    from tqdm import tqdm

    from effebm_ext.runs.command_line import cli_options, option_sources
    from effebm_ext.runs.command_line.bias_command import bias
    from effebm_ext.runs.command_line.commands import UNMOVED_CAUTION, evaluate, recipes, sample
except ModuleNotFoundError as error:  # the library itself needs none of them
    message = f"effebm: error: {error.name} is missing: pip install 'effebm_ext[train]'"
    raise SystemExit(message) from error

from effebm_ext.runs.command_line.bars import TrainingBars
from effebm_ext.runs.command_line.moved_data import naming_a_move
from effebm_ext.runs.command_line.summary import summary
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import SMALL_IMAGES
from effebm_ext.runs.folder.changes import CHANGEABLE, flags
from effebm_ext.runs.folder.run_files import REPORT, holds_run
from effebm_ext.runs.trainer import make_dataset, make_trainer
from effebm_ext.runs.training.run_folder import RunFolder
from effebm_ext.runs.training.stopping import Stopping

_DEFAULTS = TrainConfig()
NOT_LEARNED = 3  # the exit status of a run that ended and learned nothing; errors have 2
INTERRUPTED = 128 + signal.SIGINT
_SETTINGS = cloup.Context.settings(
    help_option_names=["-h", "--help"],
    max_content_width=100,
    formatter_settings=cloup.HelpFormatter.settings(col1_max_width=28),
)
_EXAMPLES = """
\b
Examples:
  effebm train --data digits --out runs/digits
  effebm train --data cifar10:FOLDER --energy resnet --width 32 --objective dsm --out runs/dsm
  effebm train --recipe jem --data fashion-mnist:FOLDER --out runs/jem
  effebm train --data x.npy --energy mymodule:MyNetwork --compressor topk:0.1 --out runs/x
  effebm train --resume runs/digits
  effebm train --resume runs/digits --iterations 6000 --learning-rate 0.0005
  effebm train --config runs/digits/config.json --seed 1 --out runs/digits-1
"""


@cloup.group(invoke_without_command=True, context_settings=_SETTINGS)
@click.version_option(effebm_ext.__version__, prog_name="effebm", help="Show the version and exit.")
@click.pass_context
def cli(context: click.Context) -> None:
    """Train and sample energy-based models with compressed Langevin dynamics."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command(epilog=_EXAMPLES, context_settings={"allow_extra_args": True})
@cli_options.config_options
@option_sources.recipe
@cloup.option("--out", type=cli_options.FOLDER, metavar="RUN",
              group=cli_options.run_group, help="Write the run into this folder.")  # fmt: skip
@cloup.option("--overwrite", is_flag=True, group=cli_options.run_group,
              help="Replace a run that is already there.")  # fmt: skip
@cloup.option("--resume", type=cli_options.FOLDER, metavar="RUN",
              group=cli_options.run_group,
              help="Go on with a run, from its last checkpoint or from the one that is given, by "
              "its own configuration with the changes that are given.")  # fmt: skip
@option_sources.config_file
@cloup.option("--tensorboard", is_flag=True, group=cli_options.run_group,
              help="Write curves and samples for TensorBoard into RUN/tensorboard.")  # fmt: skip
@cloup.option("--quiet", is_flag=True, group=cli_options.run_group,
              help="Print warnings and errors only.")  # fmt: skip
@cli_options.threads(cli_options.speed_group)
@click.pass_context
def train(
    context: click.Context,
    out: Path | None,
    overwrite: bool,
    resume: Path | None,
    tensorboard: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train an energy on data and write the run into a folder.

    Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 let the run end its iteration, write a checkpoint and say
    how to go on; a second one ends it at once.

    The exit status is 0, 2 for an error, 3 if the run ended and learned nothing, 130 after Ctrl-C,
    and 128 and the number of the signal after others.
    """
    if context.args:
        meant = "--resume" if holds_run(Path(context.args[0])) else "--data"
        raise ValueError(
            f"train: expected options only, got {context.args[0]}: did you mean {meant} "
            f"{context.args[0]}?"
        )
    path = out if resume is None else resume
    if path is None:
        raise ValueError("out: expected --out FOLDER, or --resume RUN")
    again, trainer = resume is not None, None
    folder = RunFolder(path, overwrite=overwrite, resume=again, tensorboard=tensorboard)
    with Stopping() as stopping:
        try:
            if again:
                config = _changed(folder.config(), context, options)
            else:
                config = option_sources.configuration(context, options)
            with naming_a_move(is_given=option_sources.is_typed(context, "data")):
                dataset = make_dataset(config)
            config = config.resolved(dataset.kind)
            trainer = make_trainer(config, dataset)
            if not quiet:
                click.echo(f"{summary(config, dataset, trainer)}.")
            with TrainingBars(config, trainer, quiet=quiet) as bars:
                go = folder.resume if again else folder.train
                go(config, dataset, trainer, progress=bars.show, stopping=stopping)
        except KeyboardInterrupt as stop:
            made, command = 0 if trainer is None else trainer.iterations, folder.how_to_go_on()
            tqdm.write(f"effebm: {folder.where_it_stopped(made)}", file=sys.stderr)
            if command:
                tqdm.write(f"effebm: go on with: {command}", file=sys.stderr)
            sys.exit(getattr(stop, "status", INTERRUPTED))
    if not quiet:
        click.echo(f"The run is in {folder.path}: look at {folder.path / REPORT} in a browser.")
        if config.chains_never_move:
            click.echo(UNMOVED_CAUTION)
        if folder.evaluation is not None:
            click.echo(folder.evaluation.summary())
    if folder.failures:
        _fail(f"nothing was learned: {folder.failures[0]}", status=NOT_LEARNED)


def _changed(config: TrainConfig, context: click.Context, options: dict[str, Any]) -> TrainConfig:
    """Returns the configuration of a run with the options that are given."""
    given = [
        name
        for name in context.params
        if name not in ("resume", "tensorboard", "quiet") and option_sources.is_given(context, name)
    ]
    kept = [name for name in given if name not in CHANGEABLE]
    if kept:
        raise ValueError(
            f"resume: the run keeps its own {flags(kept)}; what may change is {flags(CHANGEABLE)}"
        )
    return dataclasses.replace(config, **{name: options[name] for name in given})


cli.add_command(sample)
cli.add_command(evaluate)
cli.add_command(bias)
cli.add_command(recipes)


@cli.command()
def info() -> None:
    """Print what this installation is made of."""
    build, defaults = _C.build_info(), _DEFAULTS.resolved(SMALL_IMAGES)
    no_cuda = build["no_cuda"] and f"left out: {build['no_cuda']}"
    rows = {
        "effebm_ext": effebm_ext.__version__,
        "kernels": str(Path(_C.__file__).parent),
        "torch": f"{torch.__version__} (any from {build['torch_target']}; "
        f"built with {build['torch']})",
        "compiler": build["compiler"],
        "CPU kernels": f"{_C.cpu_capability()}, {torch.get_num_threads()} threads",
        "CUDA kernels": no_cuda or extension.cuda_missing or "loaded",
        "train defaults": f"{defaults.chain_compressor}, "
        f"error feedback {'on' if defaults.error_feedback else 'off'}",
    }
    for name, value in rows.items():
        click.echo(f"{name + ':':<16}{value}")


def main() -> None:
    """Runs the command line; bad input ends in one line and a non-zero exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may have bytes that are no text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            cli(standalone_mode=False)
    except click.ClickException as error:
        _fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        click.echo("effebm: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except KeyError as error:  # its text is only the key
        _fail(repr(error))
    except Exception as error:
        _fail(next(filter(str.strip, str(error).splitlines()), type(error).__name__))


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    tqdm.write(f"effebm: warning: {message}", file=sys.stderr)  # leaves a progress bar intact


def _fail(message: str, status: int = 2) -> NoReturn:
    click.echo(f"effebm: error: {message}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
