"""The command line: ``effebm train``, ``effebm sample``, ``effebm evaluate``, ``effebm info``."""

from __future__ import annotations

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

    from effebm_ext.commands import evaluate, sample

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
except ModuleNotFoundError as error:  # the library itself needs none of them
    message = f"effebm: error: {error.name} is missing: pip install 'effebm_ext[train]'"
    raise SystemExit(message) from error

from effebm_ext.compressors import parse_compressor
from effebm_ext.config import OBJECTIVES, SCORE_MATCHING, TrainConfig
from effebm_ext.data import TOYS, load
from effebm_ext.field_types import as_declared, declared_types, kind_of
from effebm_ext.run_folder import RunFolder
from effebm_ext.training import make_trainer

_DEFAULTS = TrainConfig()
_TYPES = declared_types(TrainConfig)
_HELP = {
    "data": f"digits, {', '.join(TOYS)}, a .npy or .npz file of shape (n, *event), of about "
    "unit standard deviation, or mnist:, fashion-mnist:, cifar10: or images:FOLDER",
    "holdout": "share of the data kept from training, to evaluate on",
    "objective": f"method of training: {', '.join(OBJECTIVES)}",
    "energy": "network: auto, mlp, conv or resnet",
    "compressor": "of the chains' gradients: none, topk:RATIO, topk:K or block-sign:SIZE "
    "[default: block-sign:64, of weighted walkers none]",
    "clip": "of the chains' gradients before compression: none, value:LIMIT or norm:LIMIT",
    "chains": "persistent chains, or chains drawn from the replay buffer at a time",
    "buffer_size": "of the replay buffer; 0: no buffer, all chains persist and are moved",
    "restart_probability": "of a chain, before it is moved",
    "langevin_steps": "steps of every chain per iteration",
    "step_size": "gamma of the Langevin step [default: 0.02 for images, else 0.005]",
    "step_size_end": "gamma at the end of the run, reached geometrically [default: it stays]",
    "on_divergence": "what becomes of chains whose energy is not finite: raise (the run stops), "
    "restart (at their start) or keep",
    "iterations": "parameter updates",
    "batch_size": "data per iteration",
    "learning_rate": "of the parameters",
    "learning_rate_schedule": "cosine, linear (both to zero) or constant "
    "[default: cosine, with --verbatim constant]",
    "optimizer": "adam or sgd [default: adam, with --verbatim sgd]",
    "ema_decay": "of a moving average of the parameters, from which to sample later; 0: none",
    "data_noise": "standard deviation of noise added to the data [default: 0.3 for images, else "
    "and with --verbatim 0]",
    "noise_end": "last of several scales of the noise that denoising takes off; 0: one scale, the "
    "only case in which the energy is that of noisy data",
    "fd_epsilon": "size of finite differences [default: 0.1]",
    "moved_chains": "weighted walkers moved at a time; 0: all",
    "resampling": "of weighted walkers: systematic, stratified or multinomial",
    "resample_threshold": "effective sample size, as a share, below which walkers are resampled",
    "particle_move": "of particles, with the change of the energy: alpha, by the difference of "
    "gradients, or beta, by a derivative of second order",
    "energy_l2": "weight of the squared energies in the loss [default: 0.001, of weighted walkers "
    "and with --verbatim 0]",
    "max_grad_norm": "larger parameter gradients are scaled down to this norm; 0: never "
    "[default: 1, with --verbatim 0]",
    "checkpoint_every": "iterations between checkpoints",
    "ais_steps": "temperatures of the evaluation at the end; 0: none",
    "evaluate_every": "iterations between shorter evaluations, which join the metrics; 0: none",
    "seed": "of everything random",
    "device": "where the chains and the energy live",
}
_DECLARED = {"integer": int, "float": float, "boolean": bool}  # by click's names


def _config_options(command: Any) -> Any:
    for name, text in reversed(_HELP.items()):
        flag, default = "--" + name.replace("_", "-"), getattr(_DEFAULTS, name)
        option = click.option(
            flag, type=kind_of(_TYPES[name]), default=default, show_default=True, help=text
        )
        command = option(command)
    return command


@click.group(no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(effebm_ext.__version__, prog_name="effebm")
def cli() -> None:
    """Train and sample energy-based models with compressed Langevin dynamics."""


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """What stands in the file takes the place of the options' defaults."""
    if path is None:
        return
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # with or without a mark
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
@click.option("--error-feedback/--no-error-feedback", default=None,
              help="feed what compression drops back into the next step "
              "[default: yes, but not for weighted walkers or with --verbatim]")  # fmt: skip
@click.option("--adjusted", is_flag=True,
              help="move weighted walkers by Metropolis-adjusted steps")  # fmt: skip
@click.option("--step-correction", is_flag=True,
              help="scale the particles' moves to the width of what they sample, by "
              "Var(D) / E|grad D|^2 for a change D of the energy")  # fmt: skip
@click.option("--verbatim", is_flag=True,
              help="the published algorithm (EFF-EBM, Algorithm 1) and nothing else: plain "
              "compression, gradient ascent, no noise on the data, no regulariser, no bound on the "
              "gradient")  # fmt: skip
@click.option("--conditional", is_flag=True,
              help="learn an energy of data and labels, to sample by class")  # fmt: skip
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
    """Train an energy on data and write the run into a folder."""
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
    with tqdm(total=config.iterations, unit="it", dynamic_ncols=True) as bar:

        def show(metrics: dict[str, float]) -> None:
            bar.update()
            if config.objective in SCORE_MATCHING:  # the chains hardly ever move
                bar.set_postfix_str(f"loss {metrics['loss']:+.4g}", refresh=False)
                return
            rate = metrics["iteration"] * config.langevin_steps / max(metrics["seconds"], 1e-9)
            bar.set_postfix_str(
                f"energy gap {metrics['energy_gap']:+.3f}, {rate:.0f} Langevin steps/s",
                refresh=False,
            )

        if resume is not None:
            folder.resume(dataset, trainer, progress=show)
        else:
            folder.train(config, dataset, trainer, progress=show)
    path = folder.path
    click.echo(f"The run is in {path}: look at {path / 'samples.png'} and {path / 'curves.png'}.")
    if folder.evaluation is not None:
        click.echo(folder.evaluation.summary())


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
    assert defaults.compressor is not None
    no_cuda = build["no_cuda"] and f"left out: {build['no_cuda']}"
    rows = {
        "effebm_ext": effebm_ext.__version__,
        "kernels": str(Path(_C.__file__).parent),
        "torch": f"{torch.__version__} (any from {build['torch_target']}; "
        f"built with {build['torch']})",
        "compiler": build["compiler"],
        "CPU kernels": f"{_C.cpu_capability()}, {torch.get_num_threads()} threads",
        "CUDA kernels": no_cuda or extension.cuda_missing or "loaded",
        "train defaults": f"{parse_compressor(defaults.compressor)}, "
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
    except KeyError as error:  # its words are the key alone
        _fail(repr(error))
    except Exception as error:
        _fail(next(iter(str(error).splitlines()), type(error).__name__))


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    tqdm.write(f"effebm: warning: {message}", file=sys.stderr)  # beside a progress bar too


def _fail(message: str, status: int = 2) -> None:
    click.echo(f"effebm: error: {message}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
