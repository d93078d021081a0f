"""Times the Langevin step against the best that PyTorch offers, in one run.

    python benchmarks/kernels.py --headline
    python benchmarks/kernels.py --shapes 256x3072,16x64 --threads 1,2 --out runs/kernels
    python benchmarks/kernels.py --device cuda --seconds 0.05

What is timed is in ``arms.py`` and ``forms.py``, how in ``timing.py``, what is to be reached in
``targets.py``; nothing is timed before ``verify.py`` has found it right.
"""

from __future__ import annotations

import itertools
import math
import time
from pathlib import Path
from typing import Any

import click
import options
import report
import torch
from arms import OPS, Arm, Case, arms, compiled
from environment import environment
from launches import launch_times
from options import HEADLINE, SHAPES, TINY, parse_shapes
from targets import targets
from timing import Contender, interleave, make_pairs, prepare
from verify import WrongFormError, expected, verify

_LAUNCH_BOUND = 2**20  # elements: below, launching a step takes longer than the step
_NO_TIME = "--limit was reached before"


def measure(case: Case, *, seconds: float, compile: bool) -> dict[str, Any]:
    """Times all arms of a case. An arm that cannot run, or that computes something else than the
    others, is reported with the reason in the place of its time."""
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
        except Exception as error:
            missing[arm.name] = {"group": arm.group, "missing": _reason(error)}

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
        "dim": case.dim,
        "dtype": str(case.dtype).removeprefix("torch."),
        "elements": case.elements,
        "threads": case.threads,
        "arms": timed | missing,
    }
    report.summarise(result)
    if case.device == "cuda" and case.elements <= _LAUNCH_BOUND:
        result["launches"] = _launches(contenders, result["best_pytorch"], first)
    return result


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _launches(
    contenders: dict[str, Contender], best: str | None, pair: tuple[torch.Tensor, torch.Tensor]
) -> dict[str, dict[str, float | str]]:
    times: dict[str, dict[str, float | str]] = {}
    for name in ("ours", best):
        if name in contenders:
            try:
                times[name] = dict(launch_times(contenders[name].step, *pair))
            except Exception as error:
                times[name] = {"missing": _reason(error)}
    return times


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--shapes",
    callback=options.shapes_option,
    help="ROWSxDIM, comma-separated [default: small to large; with cuda, large ones]",
)
@click.option("--headline", is_flag=True, help=f"only {HEADLINE}")
@click.option("--overhead", is_flag=True, help=f"only {TINY}: what a call costs")
@click.option(
    "--ops",
    default=",".join(OPS),
    callback=options.ops_option,
    help="plain, or compressors as a configuration writes them (natural), comma-separated",
)
@click.option("--dtype", type=click.Choice(options.DTYPES), default="float32")
@click.option("--device", type=click.Choice(("cpu", "cuda")), default="cpu")
@click.option(
    "--threads", callback=options.threads_option, help="comma-separated [default: what torch takes]"
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=0.5,
    help="of measuring per arm",
)
@click.option("--limit", type=float, default=math.inf, help="seconds after which no case is begun")
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
    limit: float,
    compile: bool,
    out: Path | None,
) -> None:
    """Time the Langevin step against the best that PyTorch offers, in one run."""
    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("--device cuda: there is no GPU that torch can use")
    if device == "cuda":
        threads = [1]  # that of the host; what it verifies with is its own affair
    if headline or overhead:
        shapes = parse_shapes(",".join([HEADLINE] * headline + [TINY] * overhead))
    shapes = shapes or parse_shapes(SHAPES[device])
    about = environment(device)
    click.echo("\n".join(f"{name + ':':<24}{value}" for name, value in about.items()) + "\n")
    cases = [
        Case(op, rows, dim, getattr(torch, dtype), device, n)
        for n, (rows, dim), op in itertools.product(threads, shapes, ops)
    ]
    settings = {"dtype": dtype, "device": device, "seconds_per_arm": seconds, "compile": compile}
    found = {"environment": about, "settings": settings, "results": [], "not_measured": []}
    with torch.no_grad():
        _measure_all(cases, found, time.monotonic() + limit, out)
    _show(found)
    if out is not None and found["results"]:
        report.save_plot(out / "kernels.png", found)
    if failures := _failures(found):
        raise click.ClickException(f"not all is well: {failures[0]}")


def _failures(found: dict[str, Any]) -> list[str]:
    """What a run should not end well with: arms that compute something else, cases that broke."""
    arms = [arm.get("missing", "") for r in found["results"] for arm in r["arms"].values()]
    wrong = [reason for reason in arms if reason.startswith(WrongFormError.__name__)]
    return wrong + [c["missing"] for c in found["not_measured"] if c["missing"] != _NO_TIME]


def _measure_all(cases: list[Case], found: dict[str, Any], end: float, out: Path | None) -> None:
    """Measures the cases with a bar on the way, into ``found``, which is saved after every case:
    should one end the process, those before it are not lost. Leaves torch's threads as they were.
    """
    settings, gpu = found["settings"], found["environment"].get("gpu", "")
    how = {"seconds": settings["seconds_per_arm"], "compile": settings["compile"]}
    threads = torch.get_num_threads()

    def label(case: Case | None) -> str:
        return f"{case.op} {case.shape}" if case else ""

    def add(case: Case) -> None:
        why = _NO_TIME
        try:
            if time.monotonic() < end:
                result = measure(case, **how)
                found["results"].append(result | {"targets": targets(result, gpu)})
                return
        except Exception as error:
            why = _reason(error)
        about = {"op": case.op, "shape": case.shape, "threads": case.threads}
        found["not_measured"].append(about | {"missing": why})

    try:
        with click.progressbar(cases, item_show_func=label) as bar:
            for case in bar:
                add(case)
                if out is not None:
                    out.mkdir(parents=True, exist_ok=True)
                    report.save_json(out / "kernels.json", found)
    finally:
        torch.set_num_threads(threads)


def _show(found: dict[str, Any]) -> None:
    """The tables that apply."""
    results = found["results"]
    parts = [report.table(results)]
    if found["settings"]["device"] == "cuda":
        parts.append(report.bandwidth_table(results))
    if tiny := [r for r in results if r["shape"] == TINY]:
        parts.append(report.overhead_table(tiny))
    if any("launches" in r for r in results):
        parts.append(report.launch_table(results))
    parts.append(report.missing(results, found["not_measured"]))
    click.echo("\n" + "\n\n".join(part for part in parts if part))


if __name__ == "__main__":
    main()
