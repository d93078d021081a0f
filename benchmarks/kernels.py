"""Times the Langevin step against the best that PyTorch offers, in one run.

    python benchmarks/kernels.py --headline
    python benchmarks/kernels.py --shapes 256x3072,16x64 --threads 1,2 --out runs/kernels

What is timed is in ``arms.py`` and ``forms.py``, how in ``timing.py``; nothing is timed before
``verify.py`` has found it right.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import report
import torch
from arms import OPS, Arm, Case, arms, compiled
from launches import launch_times
from timing import Contender, interleave, make_pairs, prepare
from verify import WrongFormError, expected, verify

HEADLINE = "256x3072"
TINY = "16x64"
SHAPES = (
    f"{TINY},4096x64,64x784,{HEADLINE},4096x784,1x100000,16x196608,4096x2048,1x1000000,1x10000000"
)
_LAUNCH_BOUND = 2**20  # elements: below, launching a step takes longer than the step
DTYPES = ("float32", "bfloat16", "float64", "float16")


def measure(case: Case, *, seconds: float, compile: bool) -> dict[str, Any]:
    """Times all arms of a case. An arm that cannot run is reported with the reason.

    Raises:
        WrongFormError: an arm computes something else than the others.
    """
    if case.device == "cpu":
        torch.set_num_threads(case.threads)
    pairs = make_pairs(case)
    turn = itertools.cycle(pairs)
    first = (pairs[0][0].clone(), pairs[0][1])  # timing moves the states
    want = expected(case, *first)
    contenders: dict[str, Contender] = {}
    missing: dict[str, dict[str, str]] = {}

    def enter(arm: Arm) -> None:
        try:
            verify(case, arm, *first, want)
            contenders[arm.name] = prepare(arm, turn, case.device)
        except WrongFormError:
            raise
        except Exception as error:
            line = next(iter(str(error).splitlines()), "")
            missing[arm.name] = {"group": arm.group, "missing": f"{type(error).__name__}: {line}"}

    for arm in arms(case):
        enter(arm)
    pytorch = [c for c in contenders.values() if c.arm.group == "pytorch"]
    if compile and pytorch:
        torch.compiler.reset()  # graphs of earlier cases count against a limit
        best = min(pytorch, key=lambda c: c.seconds_per_call).arm.name
        for arm in compiled(case, best):
            enter(arm)
    timed = interleave(list(contenders.values()), turn, seconds, case.device)
    result: dict[str, Any] = {
        "op": case.op,
        "shape": case.shape,
        "elements": case.elements,
        "threads": case.threads,
        "arms": timed | missing,
    }
    report.summarise(result)
    if case.device == "cuda" and case.elements <= _LAUNCH_BOUND:
        result["launches"] = _launches(contenders, result["best_pytorch"], first)
    return result


def _launches(
    contenders: dict[str, Contender], best: str | None, pair: tuple[torch.Tensor, torch.Tensor]
) -> dict[str, dict[str, float | str]]:
    times: dict[str, dict[str, float | str]] = {}
    for name in ("ours", best):
        if name in contenders:
            try:
                times[name] = dict(launch_times(contenders[name].step, *pair))
            except RuntimeError as error:
                times[name] = {"missing": str(error).splitlines()[0]}
    return times


def _shapes(_context: object, _option: object, text: str) -> list[tuple[int, int]]:
    try:
        shapes = []
        for shape in text.split(","):
            rows, dim = (int(n) for n in shape.split("x"))
            shapes.append((rows, dim))
        if min(map(min, shapes)) > 0:
            return shapes
    except ValueError:
        pass
    raise click.BadParameter(f"expected ROWSxDIM,... like {HEADLINE},{TINY}, got {text!r}")


def _threads(_context: object, _option: object, text: str | None) -> list[int]:
    try:
        threads = [int(n) for n in text.split(",")] if text else [torch.get_num_threads()]
        if min(threads) > 0:
            return threads
    except ValueError:
        pass
    raise click.BadParameter(f"expected numbers like 1,2, got {text!r}")


def _ops(_context: object, _option: object, text: str) -> list[str]:
    ops = text.split(",")
    for op in ops:
        try:
            Case(op, 1, 1).compressor  # noqa: B018  (parses it)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return ops


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--shapes", default=SHAPES, callback=_shapes, help="ROWSxDIM, comma-separated")
@click.option("--headline", is_flag=True, help=f"only {HEADLINE}")
@click.option("--overhead", is_flag=True, help=f"only {TINY}: what a call costs")
@click.option("--ops", default=",".join(OPS), callback=_ops,
              help="plain, block-sign:SIZE, topk:RATIO or topk:K, comma-separated")  # fmt: skip
@click.option("--dtype", type=click.Choice(DTYPES), default="float32")
@click.option("--device", type=click.Choice(("cpu", "cuda")), default="cpu")
@click.option("--threads", callback=_threads, help="comma-separated [default: what torch takes]")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=0.5,
              help="of measuring per arm")  # fmt: skip
@click.option("--compile/--no-compile", default=True, help="time torch.compile as well")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder for kernels.json and kernels.png")  # fmt: skip
def main(
    shapes: list[tuple[int, int]],
    headline: bool,
    overhead: bool,
    ops: list[str],
    dtype: str,
    device: str,
    threads: list[int],
    seconds: float,
    compile: bool,
    out: Path | None,
) -> None:
    """Time the Langevin step against the best that PyTorch offers, in one run."""
    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("--device cuda: there is no GPU that torch can use")
    if device == "cuda":
        threads = [1]  # that of the host; what it verifies with is its own affair
    if headline or overhead:
        shapes = _shapes(None, None, ",".join([HEADLINE] * headline + [TINY] * overhead))
    about = report.environment(device)
    click.echo("\n".join(f"{name + ':':<24}{value}" for name, value in about.items()) + "\n")
    cases = [
        Case(op, rows, dim, getattr(torch, dtype), device, n)
        for n, (rows, dim), op in itertools.product(threads, shapes, ops)
    ]
    with torch.no_grad():
        results = _measure_all(cases, lambda c: measure(c, seconds=seconds, compile=compile))
    _show(results)
    settings = {"dtype": dtype, "device": device, "seconds_per_arm": seconds, "compile": compile}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        everything = {"environment": about, "settings": settings, "results": results}
        report.save_json(out / "kernels.json", everything)
        report.save_plot(out / "kernels.png", everything)


def _measure_all(
    cases: list[Case], measure_one: Callable[[Case], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Measures the cases with a bar on the way, and leaves torch's threads as they were."""

    def label(case: Case | None) -> str:
        return f"{case.op} {case.shape}" if case else ""

    threads = torch.get_num_threads()
    try:
        with click.progressbar(cases, item_show_func=label) as bar:
            return [measure_one(case) for case in bar]
    finally:
        torch.set_num_threads(threads)


def _show(results: list[dict[str, Any]]) -> None:
    """The tables that apply."""
    parts = [report.table(results)]
    if tiny := [r for r in results if r["shape"] == TINY]:
        parts.append(report.overhead_table(tiny))
    if any("launches" in r for r in results):
        parts.append(report.launch_table(results))
    parts.append(report.missing(results))
    click.echo("\n" + "\n\n".join(part for part in parts if part))


if __name__ == "__main__":
    main()
