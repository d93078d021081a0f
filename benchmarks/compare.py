"""Puts the times of the kernels beside those of an earlier run.

    python benchmarks/compare.py runs/now/kernels.json runs/before/kernels.json

prints a line per case: microseconds per step now and before, how many times as fast it is now, and
which share it reaches each time of the floor of its own run, the memory traffic of ``x += a * g``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from report import aligned

Key = tuple[str, str, str, int]
_TIMES = ["now, us", "before, us", "before / now", "floor / now", "floor / before"]


def read(path: Path) -> dict[Key, dict[str, Any]]:
    """The arms of every case of a run."""
    results = json.loads(path.read_text())["results"]
    return {(r["op"], r["shape"], r["dtype"], r["threads"]): r["arms"] for r in results}


def table(now: dict[Key, dict[str, Any]], before: dict[Key, dict[str, Any]]) -> str:
    """The cases of both runs; what one of them has not measured is a dash."""
    rows = [["op", "shape", "dtype", *_TIMES]]
    for case in [*now, *(case for case in before if case not in now)]:
        times = [_step(run.get(case, {})) for run in (now, before)]
        shares = [_of_floor(run.get(case, {})) for run in (now, before)]
        faster = times[1] / times[0] if times[0] and times[1] else None
        rows.append(
            [*case[:3], *(_text(t, ".1f") for t in times), _text(faster, ".2f")]
            + [_text(share, ".1%") for share in shares]
        )
    return aligned(rows)


def _step(arms: dict[str, Any]) -> float | None:
    return arms.get("ours", {}).get("us_per_call")


def _of_floor(arms: dict[str, Any]) -> float | None:
    floor, step = arms.get("axpy", {}).get("us_per_call"), _step(arms)
    return floor / step if floor and step else None


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def main(paths: list[str]) -> None:
    if len(paths) not in (1, 2):
        raise SystemExit("usage: compare.py NOW [BEFORE], files kernels.json of kernels.py")
    runs = [read(Path(path)) for path in paths]
    print(table(runs[0], runs[1] if len(runs) == 2 else {}))


if __name__ == "__main__":
    main(sys.argv[1:])
