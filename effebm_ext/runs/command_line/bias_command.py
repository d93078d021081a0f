"""The command ``effebm bias``, which tells what a chain will sample before it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import click
import cloup
import torch

from effebm_ext.bias import PredictedBias, predicted_bias, step_size_for_bias
from effebm_ext.ops.compressor import FusedCompressor
from effebm_ext.runs.command_line.cli_options import chain_config_file
from effebm_ext.runs.data.dataset import load
from effebm_ext.runs.data.image_folder import BACKGROUNDS
from effebm_ext.runs.options.parsing import COMPRESSOR_FORMS, parse_compressor

_DIM = 1024


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
def bias(
    compressor: str,
    error_feedback: bool | None,
    step_size: float | None,
    curvature: str,
    dim: int | None,
    data: str | None,
    resize: str | None,
    background: str,
    tolerance: float,
) -> None:
    """Tell the variances of a compressed Langevin chain on a Gaussian before it runs, from closed
    forms, and which step size to take."""
    if step_size is None:
        raise ValueError("step_size: expected --step-size, or --config with one")
    parsed, curvatures = parse_compressor(compressor), _numbers(curvature)
    if dim is None:
        dim = _DIM
        if data is not None:
            dim = math.prod(load(data, resize=resize, background=background).event_shape)
    _check_fits(parsed, compressor, dim)
    if error_feedback is None:
        error_feedback = parsed is None or parsed.shrinks
    found = predicted_bias(parsed, dim, step_size, curvatures, error_feedback)
    best = step_size_for_bias(tolerance, parsed, dim, curvatures, error_feedback)
    how = "" if parsed is None else f", error feedback {'on' if error_feedback else 'off'}"
    click.echo(f"compressor {compressor}{how}, {dim} entries, step size {step_size:g}")
    click.echo(_table(found))
    if parsed is not None and error_feedback and found.virial is not None:
        plain = predicted_bias(None, dim, step_size, curvatures).virial
        click.echo(f"{'samples:':<15}about {plain:.4f}, as without compression (docs/remedies.md)")
    click.echo(_advice(best, tolerance, error_feedback))


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
            rows.append((f"{c:g}", f"{v:.4g}", f"{1 / c:.4g}", f"{r:.4f}"))
    lines = ["".join(f"{cell:>12}" for cell in row) for row in rows]
    facts = {
        "law": found.law,
        "mean ratio": None if found.virial is None else f"{found.virial:.4f}, E[x . grad E(x)] / d",
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
