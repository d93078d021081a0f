"""Random calls of the ops themselves, which compiled and exported graphs make too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import effebm_ext as eff
from effebm_ext import _C
from effebm_ext.ops.checks import compute_dtype, row_size

if TYPE_CHECKING:
    from fuzz.draws import Stream
    from fuzz.steps import Step

RAW = torch.ops.effebm


def invoke_step(s: Step) -> Any:
    """The call of an op by its arguments in words, with a fault among them if there is to be."""
    op = s.call.name
    own = _drift_arguments(s)
    tensors = [s.grad, s.delta, _C.ROW_SUMS_TRANSITION]
    if op == "drift":
        own |= key_arguments(s.rng.means)
    else:
        own |= _step_arguments(s)
        tensors = [s.x, s.grad]
        tensors += [s.residual] * (op in ("langevin_step_", "langevin_transition"))
        tensors += [s.statistics] * (op == "langevin_step_")
    if s.call.fault == "raw":
        bad = _bad_drift_arguments(s)
        own |= s.call.draw.choice(bad if op == "drift" else [*bad, *_bad_step_arguments(s)])
    return getattr(RAW, op)(*tensors, **own)


def _drift_arguments(s: Step) -> dict[str, Any]:
    known, clip = s.compressor.means, s.clip.means
    own: dict[str, Any] = {}
    if known is not None:
        code, size, offsets = known.codes
        own = {"compressor": code, "compressor_size": size}
        own["block_offsets"] = None if offsets is None else torch.tensor(offsets)
    if clip is not None:
        by_value = isinstance(clip, eff.ClipValue)
        own |= {"clip": _C.CLIP_VALUE if by_value else _C.CLIP_NORM, "clip_limit": clip.limit}
    return own


def key_arguments(stream: Stream) -> dict[str, Any]:
    signed = stream.seed - 2**64 if stream.seed >= 2**63 else stream.seed
    key = torch.tensor([signed, stream.offset])
    return {"key": key, "offset": 0, "first_chain": stream.first_chain}


def _step_arguments(s: Step) -> dict[str, Any]:
    bounds = s.bounds.means
    own: dict[str, Any] = {**key_arguments(s.rng.means), "step_size": 0.0}
    own["stochastic_rounding"] = s.stochastic_rounding
    for name, number in (("step_size", s.step_size), ("noise_std", s.noise_std)):
        if isinstance(number.means, Tensor):
            given = number.make()  # which may lie in what the op writes
            own[f"{name}s"] = given if given.dtype == number.means.dtype else number.means
        elif number.means is not None:
            own[name] = number.means
    if bounds is not None:
        own["bounds"] = _C.BOUNDS_CLAMP
        if isinstance(bounds, eff.Reflect):
            own["bounds"] = _C.BOUNDS_REFLECT
        own["lower"], own["upper"] = bounds.lower, bounds.upper
    return own


def _bad_drift_arguments(s: Step) -> list[dict[str, Any]]:
    dim = row_size(s.grad)
    codes = _C.COMPRESSORS
    topk = {"compressor": codes["topk"], "block_offsets": None}
    signs = {"compressor": codes["block_sign"], "compressor_size": 1}
    return [
        {"compressor": 1 + max(codes.values())}, {"compressor": -1},
        {"compressor": codes["random_k"], "compressor_size": dim + 1},
        {"compressor": codes["natural"], "compressor_size": 23}, {"clip": 3}, {"clip": -1},
        topk | {"compressor_size": dim + 1}, topk | {"compressor_size": -1},
        signs | {"compressor_size": 0, "block_offsets": None},
        *[signs | {"block_offsets": offsets} for offsets in bad_offsets(dim)],
    ]  # fmt: skip


def _bad_step_arguments(s: Step) -> list[dict[str, Any]]:
    n, compute = len(s.x), compute_dtype(s.x.dtype)
    return [
        {"key": torch.zeros(2)}, {"key": torch.zeros(3, dtype=torch.int64)},
        {"first_chain": -1}, {"first_chain": 2**63 - 1}, {"first_chain": 2**32 + 1},
        {"bounds": 3}, {"bounds": -1}, {"bounds": 1, "lower": 1.0, "upper": 0.0},
        {"bounds": 2, "lower": 0.0, "upper": torch.nan},
        {"step_sizes": torch.zeros(n + 1, dtype=compute)},
        {"noise_stds": torch.zeros(n, 1, 1, 1, 1, 1, dtype=compute)},
        {"step_sizes": torch.zeros(n, dtype=torch.float16)},
    ]  # fmt: skip


def bad_offsets(dim: int) -> list[Tensor]:
    """What no op may take for the blocks of a row of ``dim``. The last three are wrong by their
    form, and not by their numbers."""
    numbers = [[0, dim + 1], [1, dim + 1], [0, 10**8], [0, -5, dim], [-1, dim], [0, dim, dim], [0],
               [], [0, dim // 2, dim // 2, dim], [0, dim, dim - 1, dim], [2**62, -(2**62)],
               [[0, dim]]]  # fmt: skip
    wrong = [torch.tensor(n, dtype=torch.int64) for n in numbers]
    strided = torch.tensor([0, 5, dim, 7], dtype=torch.int64)[::2]
    return [*wrong, strided, torch.tensor([0, dim], dtype=torch.int32), torch.tensor([0.0, dim])]
