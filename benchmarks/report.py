"""What comes out: tables, JSON and a plot."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from targets import GRAPH_OVER_KERNELS

Result = dict[str, Any]

_LINES = {
    "ours": "C0o-",
    "PyTorch": "C1s-",
    "compile": "C2^-",
    "torchebm": "C3v-",
    "axpy": "k:",
    "noise": "C7--",
}
_RIVALS = {
    "speed_up": "PyTorch",
    "speed_up_over_compile": "compile",
    "speed_up_over_torchebm": "torchebm",
}


def fastest(result: Result, group: str) -> str | None:
    """The name of the fastest arm of a group, None where all are missing."""
    arms = result["arms"]
    times = {
        name: arm["ns_per_element"]
        for name, arm in arms.items()
        if arm["group"] == group and "missing" not in arm
    }
    return min(times, key=times.__getitem__, default=None)


def summarise(result: Result) -> None:
    """Adds what is quoted to a result, None where an arm is missing that it takes:

    - how much faster ours is than the best form of each rival;
    - which share it reaches of the floor of a step, the memory traffic of ``x += a * g``;
    - what a copy of the same run moves, in GB per second, read and written, and the share of it
      that ours reaches (state and gradient read, state written) and that the compression alone
      does (one read, one written). On a CPU it can be 150 %, since a copy reads what it overwrites,
      too, which is not counted;
    - ours over the sum of the noise, the compression and a copy, each alone.
    """
    result["best_pytorch"] = fastest(result, "pytorch")
    ours, copy, compress = (_column(result, name) for name in ("ours", "copy", "compress"))
    result["of_axpy"] = _ratio(_column(result, "axpy"), ours)
    for figure, rival in _RIVALS.items():
        result[figure] = _ratio(_column(result, rival), ours)
    moved = 2 * getattr(torch, result["dtype"]).itemsize
    result["copy_gb_per_s"] = _ratio(moved, copy)
    result["of_copy_bandwidth"] = _ratio(1.5 * copy if copy else None, ours)
    result["compress_of_copy_bandwidth"] = _ratio(copy, compress)
    parts = ("noise", "compress", "copy")
    floor = [arm.get("ns_per_element") for n, arm in result["arms"].items() if n in parts]
    whole = "noise" in result["arms"] and all(floor)
    result["over_floor"] = _ratio(ours, sum(floor)) if whole else None


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a and b else None


def _column(result: Result, column: str, unit: str = "ns_per_element") -> float | None:
    """The figure of one column of the table; a column may stand for the fastest of a group."""
    group = column.lower()
    name = fastest(result, group) if group in ("pytorch", "compile", "torchebm") else column
    return result["arms"].get(name, {}).get(unit)


def table(results: Iterable[Result]) -> str:
    """Nanoseconds per element."""
    floors = ["compress", "noise", "axpy", "copy"]
    head = ["op", "shape", "threads", "ours", "best PyTorch", "", "speed-up", "compile", "torchebm"]
    rows = [[*head, *floors, "over floor", "of copy GB/s"]]
    for r in results:
        share = r["of_copy_bandwidth"]
        rows.append(
            [r["op"], r["shape"], str(r["threads"]), _number(_column(r, "ours"))]
            + [r["best_pytorch"] or "-", _number(_column(r, "PyTorch"))]
            + [_number(r["speed_up"], "x")]
            + [_number(_column(r, name)) for name in ("compile", "torchebm", *floors)]
            + [_number(r["over_floor"], "x"), "-" if share is None else f"{share:.0%}"]
        )
    return "nanoseconds per element\n" + aligned(rows)


def bandwidth_table(results: Iterable[Result]) -> str:
    """Shares of the floor and of the bandwidth of a copy, and how much faster than what; beside
    targets, if any."""
    head = ["op", "shape", "copy, GB/s", "of x += a g", "step / copy", "compress / copy"]
    rows = [[*head, *(f"over {rival}" for rival in _RIVALS.values())]]
    for r in results:
        wanted = r.get("targets", {})
        shares = [
            _judged(r[figure], wanted.get(figure), ".1%")
            for figure in ("of_axpy", "of_copy_bandwidth", "compress_of_copy_bandwidth")
        ]
        ratios = [_judged(r[figure], wanted.get(figure), ".2f", "x") for figure in _RIVALS]
        copy = _judged(r["copy_gb_per_s"], None, ".0f")
        rows.append([r["op"], r["shape"], copy, *shares, *ratios])
    return "bandwidth, and times as fast as (targets: ok or missed <)\n" + aligned(rows)


def _judged(value: float | None, target: float | None, form: str, unit: str = "") -> str:
    """A figure that should not be below its target."""
    if value is None:
        return "-"
    text = f"{value:{form}}{unit}"
    if target is None:
        return text
    return f"{text} ok" if value >= target else f"{text} < {target:{form}}{unit}"


def overhead_table(results: Iterable[Result]) -> str:
    """Microseconds per call, for states so small that little else is left."""
    rows = [["op", "shape", "threads", "ours", "a single add_", "PyTorch, every form"]]
    for r in results:
        forms = {n: a.get("us_per_call") for n, a in r["arms"].items() if a["group"] == "pytorch"}
        ours, add = (_column(r, name, "us_per_call") for name in ("ours", "axpy"))
        listed = ", ".join(f"{name} {_number(us)}" for name, us in forms.items())
        rows.append([r["op"], r["shape"], str(r["threads"]), _number(ours), _number(add), listed])
    return "microseconds per call\n" + aligned(rows)


def launch_table(results: Iterable[Result]) -> str:
    """Microseconds per step of a loop, of a CUDA graph and of the kernels in them."""
    keys = ("loop_us", "graph_us", "kernels_us")
    rows = [["op", "shape", "arm", "loop", "graph", "kernels", "graph / kernels", "nodes per step"]]
    for r in results:
        for name, times in r.get("launches", {}).items():
            figures = [_number(times.get(key)) for key in keys]
            over = _ratio(times.get("graph_us"), times.get("kernels_us"))
            met = "" if name != "ours" or over is None else _at_most(over, GRAPH_OVER_KERNELS)
            nodes = _number(times.get("graph_nodes"))
            rows.append([r["op"], r["shape"], name, *figures, _number(over, "x") + met, nodes])
    return "microseconds per step\n" + aligned(rows)


def _at_most(value: float, target: float) -> str:
    return " ok" if value <= target else f" > {target:g}x"


def missing(results: Iterable[Result], not_measured: list[Result]) -> str:
    """Which arms and cases were not measured, and why: a line for each reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for case in not_measured:
        cases = reasons.setdefault(("every arm", case["missing"]), [])
        cases.append(f"{case['op']} {case['shape']}")
    for r in results:
        launches = {f"launches of {name}": arm for name, arm in r.get("launches", {}).items()}
        for name, arm in (r["arms"] | launches).items():
            if "missing" in arm:
                reasons.setdefault((name, arm["missing"]), []).append(f"{r['op']} {r['shape']}")
    lines = []
    for (name, why), cases in reasons.items():
        which = ", ".join(cases[:3]) + ", ..." * (len(cases) > 3)
        lines.append(f"missing: {name} ({which}): {why}")
    return "\n".join(lines)


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return "-"
    return f"{value:.3f}{unit}" if value < 1 else f"{value:.3g}{unit}"


def aligned(rows: list[list[str]]) -> str:
    """Text in columns, all but the first aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )


def save_json(path: Path, report: dict[str, Any]) -> None:
    path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")


def save_plot(path: Path, report: dict[str, Any]) -> None:
    """Time per element against shape: a panel for every op, a row of panels for every number of
    threads."""
    # States of about one size by the length of their rows.
    results = sorted(report["results"], key=lambda r: (r["elements"].bit_length(), r["dim"]))
    ops = list(dict.fromkeys(r["op"] for r in report["results"]))
    threads = sorted({r["threads"] for r in results})
    size = (3.2 * len(ops), 3.2 * len(threads) + 1)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(threads), len(ops), sharey=True, squeeze=False)
    for row, n in zip(panels, threads, strict=True):
        for axes, op in zip(row, ops, strict=True):
            shown = [r for r in results if r["op"] == op and r["threads"] == n]
            for name, line in _LINES.items():
                points = [(r["shape"], _column(r, name)) for r in shown]
                points = [(shape, time) for shape, time in points if time is not None]
                if points:
                    axes.plot(*zip(*points, strict=True), line, label=name, markersize=4)
            axes.set_yscale("log")
            axes.set_title(f"{op}, {n} thread{'s' * (n > 1)}", fontsize=9)
            axes.tick_params(axis="x", rotation=90, labelsize=7)
            axes.grid(alpha=0.3)
        row[0].set_ylabel("ns per element")
    panels[0][0].legend(fontsize=7)
    about = report["environment"]
    figure.suptitle(f"{about.get('gpu', about['cpu'])}, torch {about['torch']}", fontsize=10)
    figure.savefig(path, dpi=120)
