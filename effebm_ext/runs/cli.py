"""The command line: ``effebm train``, ``effebm sample``, ``effebm evaluate``, ``effebm info``."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

import effebm_ext
from effebm_ext import _C, extension

try:
    import click
    from tqdm import tqdm

    from effebm_ext.runs.commands import evaluate, sample

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
except ModuleNotFoundError as error:  # the library itself needs none of them
    message = f"effebm: error: {error.name} is missing: pip install 'effebm_ext[train]'"
    raise SystemExit(message) from error

from effebm_ext.runs.config import TrainConfig, option_help
from effebm_ext.runs.data import load
from effebm_ext.runs.fields import as_declared, declared_types, kind_of
from effebm_ext.runs.folder import RunFolder
from effebm_ext.runs.progress import Progress
from effebm_ext.runs.summary import summary
from effebm_ext.runs.trainer import make_trainer

_DEFAULTS = TrainConfig()
_TYPES = declared_types(TrainConfig)
NOT_LEARNED = 3  # the exit status of a run that ended and learned nothing; errors have 2
_DECLARED = {"integer": int, "float": float, "boolean": bool}  # by click's names


def _config_options(command: Any) -> Any:
    """Gives a command an option for every field of the configuration."""
    for field in reversed(dataclasses.fields(TrainConfig)):
        flag, kind = "--" + field.name.replace("_", "-"), kind_of(_TYPES[field.name])
        shape: dict[str, Any] = {"type": kind, "show_default": True}
        if kind is bool and field.default is None:
            flag, shape = f"{flag}/--no-{flag[2:]}", {}
        elif kind is bool:
            shape = {"is_flag": True}
        option = click.option(flag, default=field.default, help=option_help(field.name), **shape)
        command = option(command)
    return command


@click.group(no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(effebm_ext.__version__, prog_name="effebm")
def cli() -> None:
    """Train and sample energy-based models with compressed Langevin dynamics."""


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Lets the values in the file take the place of the options' defaults."""
    if path is None:
        return
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # a BOM may come first
    except FileNotFoundError as error:
        raise FileNotFoundError(f"config: no such file: {path}") from error
    except ValueError as error:
        raise ValueError(f"config: {path} is not a TOML file: {error}") from error
    values = {name.replace("-", "_"): value for name, value in content.items()}
    if len(values) < len(content):
        raise ValueError(f"config: {path} has a name twice, with - and with _")
    declared = {
        parameter.name: _DECLARED.get(parameter.type.name, str)
        for parameter in context.command.params
        if parameter.name is not None and parameter.name != "config"
    }
    unknown = values.keys() - declared
    if unknown:
        raise ValueError(f"config: {path} has names that are no options: {sorted(unknown)}")
    context.default_map = {
        name: as_declared(value, declared[name], f"config: {path}: {name}")
        for name, value in values.items()
    }


@cli.command()
@click.option("--config", type=click.Path(path_type=Path), is_eager=True, expose_value=False,
              callback=_read_config,
              help="a TOML file with the names of these options; flags come before it")  # fmt: skip
@_config_options
@click.option("--out", type=click.Path(path_type=Path), help="the run folder")
@click.option("--overwrite", is_flag=True, help="replace a run that is already there")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN",
              help="go on with an interrupted run, by its configuration")  # fmt: skip
@click.option("--tensorboard", is_flag=True,
              help="write curves and samples for TensorBoard into RUN/tensorboard")  # fmt: skip
@click.pass_context
def train(
    context: click.Context,
    out: Path | None,
    overwrite: bool,
    resume: Path | None,
    tensorboard: bool,
    **options: Any,
) -> None:
    """Train an energy on data and write the run into a folder.

    The exit status is 0, 2 for an error, 3 if the run ended and learned nothing, and 130 if it was
    interrupted.
    """
    if resume is not None:
        names = context.params.keys() - {"resume", "tensorboard"}
        given = [name for name in context.params if name in names and _is_given(context, name)]
        if given:
            flags = ", ".join("--" + name.replace("_", "-") for name in given)
            raise ValueError(f"resume: the run has its own configuration; leave out {flags}")
        folder = RunFolder(resume, resume=True, tensorboard=tensorboard)
        config = folder.config()
    elif out is None:
        raise ValueError("out: expected --out FOLDER, or --resume RUN")
    else:
        config = TrainConfig(**options)
    dataset = load(config.data, seed=config.seed, labels=config.conditional)
    config = config.resolved(is_image=dataset.is_image)
    trainer = make_trainer(config, dataset)
    if out is not None:
        folder = RunFolder(out, overwrite=overwrite, tensorboard=tensorboard)
    click.echo(f"{summary(config, dataset, trainer)}.")
    progress = Progress(config, trainer)
    with tqdm(total=config.iterations, unit="it", dynamic_ncols=True) as bar:

        def show(metrics: dict[str, float]) -> None:
            bar.update()
            bar.set_postfix_str(progress.text(metrics), refresh=False)

        try:
            if resume is not None:
                folder.resume(dataset, trainer, progress=show)
            else:
                folder.train(config, dataset, trainer, progress=show)
        except KeyboardInterrupt:
            tqdm.write(f"effebm: go on with: effebm train --resume {folder.path}", file=sys.stderr)
            raise
    path = folder.path
    pictures = [str(path / name) for name in ("samples.png", "curves.png")]
    shown = " and ".join(pictures if trainer.chains is not None else pictures[1:])
    click.echo(f"The run is in {path}: look at {shown}.")
    if folder.evaluation is not None:
        click.echo(folder.evaluation.summary())
    if folder.failures:
        _fail(f"nothing was learned: {folder.failures[0]}", status=NOT_LEARNED)


def _is_given(context: click.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    given = (click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.DEFAULT_MAP)
    return source in given


cli.add_command(sample)
cli.add_command(evaluate)


@cli.command()
def info() -> None:
    """Print what this installation is made of."""
    build, defaults = _C.build_info(), _DEFAULTS.resolved(is_image=True)
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
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            cli(standalone_mode=False)
    except click.ClickException as error:
        _fail(error.format_message())
    except click.Abort:
        _fail("interrupted", status=130)
    except KeyError as error:  # its text is only the key
        _fail(repr(error))
    except Exception as error:
        _fail(next(iter(str(error).splitlines()), type(error).__name__))


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    tqdm.write(f"effebm: warning: {message}", file=sys.stderr)  # leaves a progress bar intact


def _fail(message: str, status: int = 2) -> None:
    click.echo(f"effebm: error: {message}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
