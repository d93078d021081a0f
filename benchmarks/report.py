"""What comes out: the environment, a table, JSON and a plot."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

import effebm_ext as eff
from effebm_ext import _C

Result = dict[str, Any]

_LINES = {
    "ours": "C0o-",
    "PyTorch": "C1s-",
    "compile": "C2^-",
    "torchebm": "C3v-",
    "axpy": "k:",
    "noise": "C7--",
}


def environment(device: str) -> dict[str, str | int]:
    """What the figures depend on and are quoted with."""
    found: dict[str, str | int] = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "effebm_ext": eff.__version__,
        "commit": _commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "instruction_set": _C.cpu_capability(),
        "torch_instruction_set": torch.backends.cpu.get_cpu_capability(),
    }
    if device == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
    return found


def _commit() -> str:
    """Of the source tree this file is in; marked where there are changes on top of it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


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
    """Adds what is quoted to a result: the best PyTorch form, how much faster ours is,
    the floor of the same run (noise, compression and a copy, each alone) and ours over it, and the
    bandwidth ours reaches (state and gradient read, state written) relative to a copy's.
    On a CPU that can reach 150 %, since a copy reads what it overwrites, too, which is not counted.
    """
    arms = result["arms"]
    best = result["best_pytorch"] = fastest(result, "pytorch")
    ours = arms["ours"].get("ns_per_element")
    result["speed_up"] = arms[best]["ns_per_element"] / ours if best and ours else None
    copy = arms["copy"].get("ns_per_element")
    floors = [arms[n].get("ns_per_element") for n in ("noise", "compress", "copy") if n in arms]
    result["over_floor"] = ours / sum(floors) if ours and all(floors) else None
    result["of_copy_bandwidth"] = (3 / ours) / (2 / copy) if ours and copy else None


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
    return "nanoseconds per element\n" + _aligned(rows)


def overhead_table(results: Iterable[Result]) -> str:
    """Microseconds per call, for states so small that little else is left."""
    rows = [["op", "shape", "threads", "ours", "a single add_", "PyTorch, every form"]]
    for r in results:
        forms = {n: a.get("us_per_call") for n, a in r["arms"].items() if a["group"] == "pytorch"}
        ours, add = (_column(r, name, "us_per_call") for name in ("ours", "axpy"))
        listed = ", ".join(f"{name} {_number(us)}" for name, us in forms.items())
        rows.append([r["op"], r["shape"], str(r["threads"]), _number(ours), _number(add), listed])
    return "microseconds per call\n" + _aligned(rows)


def launch_table(results: Iterable[Result]) -> str:
    """Microseconds per step of a loop, of a CUDA graph and of the kernels in it."""
    rows = [["op", "shape", "arm", "loop", "graph", "kernels"]]
    for r in results:
        for name, times in r.get("launches", {}).items():
            figures = [_number(times.get(key)) for key in ("loop_us", "graph_us", "kernels_us")]
            rows.append([r["op"], r["shape"], name, *figures])
    return "microseconds per step\n" + _aligned(rows)


def missing(results: Iterable[Result]) -> str:
    """Which arms were not measured, and why: a line for each reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
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


def _aligned(rows: list[list[str]]) -> str:
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
    results: list[Result] = sorted(report["results"], key=lambda r: r["elements"])
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
