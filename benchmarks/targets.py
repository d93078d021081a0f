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
    share = _share_of_floor(result["op"], result["dtype"], result["dim"])
    return found if share is None else {"of_axpy": share} | found


def _share_of_floor(op: str, dtype: str, dim: int) -> float | None:
    """The share of ``x += a * g`` in the same run."""
    if dtype == "bfloat16":  # whose noise alone takes 1.8 times its memory traffic
        return 0.50 if op == "plain" else None
    if dtype != "float32":
        return None
    if op.startswith("topk"):
        return 0.80 if dim <= 1024 else 0.70 if dim <= 16_384 else 0.65
    return 0.95 if op == "plain" else 0.88 if op == "block-sign:64" else None
