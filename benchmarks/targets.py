"""What the kernels are to reach on an H200, to be printed beside what they do."""

from __future__ import annotations

from typing import Any

LARGE = 2**26  # elements: the card is full, and no tensor stays in its cache
GRAPH_OVER_KERNELS = 1.2  # at most, where launching a step takes longer than the step


def targets(result: dict[str, Any], gpu: str) -> dict[str, float]:
    """The least that is wanted of figures of a result, by their names; nothing for other cards and
    smaller states."""
    if "H200" not in gpu or result["elements"] < LARGE:
        return {}
    found = {"speed_up": 8.0, "speed_up_over_compile": 2.0}
    if result["op"] == "plain":
        found["speed_up_over_torchebm"] = 1.0
    share = _share_of_copy(result["op"], result["dtype"], result["dim"])
    return found if share is None else {"of_copy_bandwidth": share} | found


def _share_of_copy(op: str, dtype: str, dim: int) -> float | None:
    is_topk = op.startswith("topk")
    if dtype not in ("float32", "bfloat16") or (is_topk and not 256 <= dim <= 800_000):
        return None
    if dtype == "bfloat16":
        return 0.65
    if is_topk:
        return 0.75 if dim <= 50_000 else 0.60
    return 0.90 if op == "plain" else 0.85
