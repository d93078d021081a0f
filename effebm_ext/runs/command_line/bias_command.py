"""The command ``effebm bias``, which tells what a chain will sample before it runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import click
import cloup
import torch

from effebm_ext.bias import PredictedBias, predicted_bias, step_size_for_bias
from effebm_ext.ops.compressor import FusedCompressor
from effebm_ext.runs.command_line.option_sources import (
    chain_config_file,
    configuration,
    is_given,
    is_typed,
    values_of_file,
)
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import POINTS, load
from effebm_ext.runs.data.image_folder import BACKGROUNDS
from effebm_ext.runs.options.fields import flag
from effebm_ext.runs.options.parsing import COMPRESSOR_FORMS

_DIM = 1024
# Options of a run that change the law of its chains, and that no closed form here has.
_LEFT_OUT = ("averaged_noise", "clip", "bounds", "restart_probability", "adjusted")


@cloup.command()
@cloup.option("--compressor", default="block-sign:64", show_default=True,
              metavar="NAME", help=f"Compress gradients by none, {COMPRESSOR_FORMS}.")  # fmt: skip
@cloup.option("--error-feedback/--no-error-feedback", default=None,
              help="Feed what compression drops back into the next step, or not. "
              "[default: error-feedback if the compressor allows it]")  # fmt: skip
@cloup.option("--step-size", type=float, help="Take steps of this size, the whole gamma.")
@cloup.option("--curvature", default="1", show_default=True, metavar="NUMBER,...",
              help="Assume these eigenvalues of the Hessian of the energy, each with an equal "
              "share of the entries.")  # fmt: skip
@cloup.option("--dim", type=click.IntRange(min=1), metavar="D",
              help="Assume this many entries in a chain. [default: those of the data, or "
              f"{_DIM}]")  # fmt: skip
@cloup.option("--data", metavar="SOURCE",
              help="Take the number of entries from these data, a source as of train.")  # fmt: skip
@cloup.option("--resize", metavar="[H|HxW]", help="Resize the images of images:FOLDER, as train.")
@cloup.option("--background", default="white", show_default=True,
              metavar=f"[{'|'.join(BACKGROUNDS)}]",
              help="Let transparent pixels of images:FOLDER show this colour.")  # fmt: skip
@cloup.option("--tolerance", type=float, default=0.05, show_default=True,
              help="Name the largest step size whose variances are off by less than this "
              "share.")  # fmt: skip
@chain_config_file
@click.pass_context
def bias(
    context: click.Context, curvature: str, dim: int | None, tolerance: float, **_: object
) -> None:
    """Tell the variances of a compressed Langevin chain on a Gaussian before it runs, from closed
    forms, and which step size to take."""
    config, dim = _resolved(context, dim)
    compressor, feedback = config.chain_compressor, config.error_feedback
    _check_fits(compressor, config.compressor, dim)
    curvatures, temperature = _numbers(curvature), config.chain_temperature
    step_size = config.step_size
    at = f"step size {step_size:g}"
    if config.step_size_end is not None and not is_typed(context, "step_size"):
        step_size = config.step_size_end
        at = f"step size {step_size:g} at the end, after {config.step_size:g}"
    at += "" if temperature == 1 else f", temperature {temperature:g}"
    found = predicted_bias(compressor, dim, step_size, curvatures, feedback, temperature)
    best = step_size_for_bias(tolerance, compressor, dim, curvatures, feedback)
    how = "" if compressor is None else f", error feedback {'on' if feedback else 'off'}"
    click.echo(f"compressor {config.compressor}{how}, {dim} entries, {at}")
    click.echo(_table(found))
    if compressor is not None and feedback and found.virial is not None:
        plain = predicted_bias(None, dim, step_size, curvatures).virial
        click.echo(f"{'samples:':<15}about {plain:.4f}, as without compression (docs/remedies.md)")
    if left_out := _left_out(config):
        click.echo(f"{'not covered:':<15}{', '.join(left_out)}")
    click.echo(_advice(best, tolerance, feedback))


def _resolved(context: click.Context, dim: int | None) -> tuple[TrainConfig, int]:
    """Returns the configuration that train would have with the same file and options, with what
    train chooses itself, and the number of entries."""
    of_file = values_of_file(context)
    given = {name: value for name, value in context.params.items() if is_given(context, name)}
    options = {**(of_file or {}), **given}
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    config = configuration(context, {k: v for k, v in options.items() if k in known})
    if config.step_size is None and of_file is None:
        raise ValueError("step_size: expected --step-size, or --config")
    kind = POINTS  # only the step size of a run depends on the kind of its data
    has_data = of_file is not None or "data" in given
    if has_data and (dim is None or config.step_size is None):
        # The size of the images of a run in a file is not that of other data.
        resizes = is_typed(context, "resize") or config.data.startswith("images:")
        resize = config.resize if resizes else None
        dataset = load(config.data, resize=resize, background=config.background)
        kind, entries = dataset.kind, math.prod(dataset.event_shape)
        dim = entries if dim is None else dim
    return config.resolved(kind), _DIM if dim is None else dim


def _left_out(config: TrainConfig) -> list[str]:
    """Names what a run does to its chains and the laws know nothing of."""
    names = [name for name in _LEFT_OUT if getattr(config, name) != getattr(TrainConfig, name)]
    weights = ["the weights of jarzynski"] if config.objective == "jarzynski" else []
    return [*map(flag, names), *weights]


def _check_fits(compressor: FusedCompressor | None, text: str, dim: int) -> None:
    try:
        if compressor is not None:
            compressor.kernel_arguments(torch.empty(1, dim, device="meta"))
    except ValueError as error:
        raise ValueError(f"compressor: {text!r}: {error}") from error


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"curvature: expected numbers with commas between, got {text!r}") from None


def _table(found: PredictedBias) -> str:
    rows: list[Sequence[str]] = []
    if found.variances is not None and found.relative_variances is not None:
        rows.append(("curvature", "variance", "exact", "ratio"))
        for c, v, r in zip(
            found.curvatures, found.variances, found.relative_variances, strict=True
        ):
            rows.append((f"{c:g}", f"{v:.4g}", f"{found.temperature / c:.4g}", f"{r:.4f}"))
    lines = ["".join(f"{cell:>12}" for cell in row) for row in rows]
    per = "d" if found.temperature == 1 else "(d T)"
    ratio = found.virial and f"{found.virial:.4f}, E[x . grad E(x)] / {per}"
    facts = {
        "law": found.law,
        "mean ratio": ratio,
        "diverges from": found.largest_step_size
        and f"a step size of {found.largest_step_size:.3g}",
        "mind": found.warning,
    }
    lines += [f"{name + ':':<15}{value}" for name, value in facts.items() if value]
    return "\n".join(lines)


def _advice(best: float | None, tolerance: float, error_feedback: bool) -> str:
    share = f"{100 * tolerance:.3g} %"
    if best is None:
        remedy = "" if error_feedback else "; error feedback cures most of it"
        return f"No step size has a bias below {share}{remedy}."
    return f"Take a step size of at most {_down(best)} for a bias below {share}."


def _down(number: float) -> str:
    """Returns a number with two digits, rounded down."""
    unit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return f"{math.floor(number / unit * (1 + 1e-9)) * unit:.2g}"
