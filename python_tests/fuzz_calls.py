"""Random calls of the ops, through their wrappers and without them, and what must come of each."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import fuzz_draws as draws
import torch
from fuzz_memory import Memory, Wrong, check_same
from torch import Tensor

import effebm_ext as eff
from effebm_ext import _C
from effebm_ext.ops.checks import compute_dtype, row_size
from effebm_ext.ops.langevin_step import langevin_step_reference
from effebm_ext.ops.perturb import perturbed_pair_reference
from effebm_ext.reference import canonical_sum, normals, sqrt

RAW = torch.ops.effebm
_ULP = 2.0**-52  # of float64, whose reference of fma is not exact


class Call:
    """One call. A builder below gives it ``invoke``, what ``check`` does with the result, and, if
    it must be refused, the ``fault``."""

    def __init__(self, name: str, draw: random.Random) -> None:
        self.name, self.draw = name, draw
        self.memory = Memory(draw)
        self.fault: str | None = None
        self.told: dict[str, object] = {}
        self.invoke: Callable[[], Any]
        self.check: Callable[[Any], None]

    def __str__(self) -> str:
        told = self.told | {"fault": self.fault}
        return f"{self.name} " + " ".join(f"{k}={v}" for k, v in told.items()).replace("\n", "")

    def choose_fault(self, faults: list[str]) -> str | None:
        self.fault = self.draw.choice(faults) if self.draw.random() < 0.35 else None
        return self.fault

    def run(self) -> str:
        """``right`` or ``refused``.

        Raises:
            Wrong: neither.
        """
        try:
            result = self.invoke()
        except (TypeError, ValueError, RuntimeError) as error:
            self.memory.check_untouched()
            if self.fault is None:
                raise Wrong(f"refused: {error!r}") from error
            return "refused"
        if self.fault is not None:
            raise Wrong("accepted")
        self.check(result)
        self.memory.check()
        return "right"


def make_call(seed: int, number: int) -> Call:
    draw = random.Random(f"{seed} {number}")
    torch.set_num_threads(draw.choice([1, 1, 1, 2]))
    name = draw.choice([
        *["langevin_step_", "langevin_step", "langevin_transition", "drift"] * 2,
        *("perturbed_pair", "topk_compress", "block_sign_compress", "pack"),
    ])  # fmt: skip
    call = Call(name, draw)
    _BUILDERS.get(name, step)(call)
    return call


def step(call: Call) -> None:
    """langevin_step_, langevin_step, langevin_transition and drift."""
    draw, memory = call.draw, call.memory
    inplace, transition = call.name == "langevin_step_", call.name == "langevin_transition"
    only_drift = call.name == "drift"
    raw = draw.random() < 0.4
    dtype, shape = draws.dtype_and_shape(draw)
    compute, n, dim = compute_dtype(dtype), shape[0], row_size(torch.empty(shape))
    faults = ["grad", "codes" if raw else "compressor", "raw" if raw else "clip"]
    if not only_drift:
        faults += ["step_size", "noise_std", "rng", "bounds"]
    if inplace or transition:
        faults += ["residual"]
    if inplace:
        faults += ["statistics", "x"]
    fault = call.choose_fault(faults)
    call.told |= {"raw": raw, "dtype": dtype, "shape": shape, "threads": torch.get_num_threads()}

    x = memory.place(draws.values(draw, shape, dtype))
    grad = _gradient(call, x)
    compressor = draws.compressor(draw, dim, bad=fault == "compressor")
    known = compressor.means
    if raw and known.codes[0] == -1:
        compressor, known = draws.Argument(lambda: None, None), None
    if fault != "compressor" and draw.random() < 0.3:
        compressor, known = draws.Argument(lambda: None, None), None
    clip = bounds = draws.Argument(lambda: None, None)
    if fault == "clip" or draw.random() < 0.5:
        clip = draws.clip(draw, bad=fault == "clip")
    if fault == "bounds" or draw.random() < 0.5:
        bounds = draws.bounds(draw, bad=fault == "bounds")

    residual = statistics = None
    if fault == "residual" or ((inplace or transition) and (known or raw) and draw.random() < 0.5):
        residual = _residual(call, x, grad, compute)
    if fault == "statistics" or (inplace and draw.random() < 0.5):
        statistics = _statistics(call, x, grad, residual, compute)
    written = [t for t in (x if inplace else None, residual, statistics) if t is not None]
    step_size = _scalar(call, n, compute, written, bad=fault == "step_size")
    noise_std = draws.Argument(lambda: None, None)
    if fault == "noise_std" or draw.random() < 0.6:
        noise_std = _scalar(call, n, compute, written, bad=fault == "noise_std")
    rng = draws.rng(draw, n, bad=fault == "rng")
    delta = None
    if only_drift and draw.random() < 0.6:
        delta = memory.place(draws.values(draw, shape, compute))
    if fault == "x":
        x = _unwritable(call, x)

    if raw:
        call.invoke = _raw_step(call, x, grad, residual, statistics, delta, step_size, noise_std,
                                rng, known, clip.means, bounds)  # fmt: skip
    elif only_drift:
        call.invoke = lambda: eff.drift(
            grad, compressor=compressor.make(), clip=clip.make(), delta=delta
        )
    else:
        own = {"residual": residual} if inplace or transition else {}
        own |= {"statistics": statistics} if inplace else {}
        call.invoke = lambda: getattr(eff, call.name)(
            x, grad, step_size.make(), compressor=compressor.make(), noise_std=noise_std.make(),
            clip=clip.make(), bounds=bounds.make(), rng=rng.make(), **own,
        )  # fmt: skip
    call.told |= {"compressor": known and known.codes, "clip": clip.means, "bounds": bounds.means,
                  "residual": residual is not None, "statistics": statistics is not None,
                  "step_size": step_size.means, "noise_std": noise_std.means,
                  "rng": rng.means}  # fmt: skip
    if call.fault is not None:
        return

    # What must come of it.
    u, want_statistics = _clipped(grad, clip.means)
    if residual is not None:
        u = u + residual
    c = u if known is None else known.compress(u)
    if only_drift:
        of = [c, c.new_zeros(n) if delta is None else _row_sums(c, delta), _row_sums(c, c)]
        call.check = lambda got: _check_all(got if not raw else (got[0], *got[1].T), of)
        return
    stream, exact = rng.means, {"noise_std": noise_std.means, "bounds": bounds.means}
    new_x, _ = langevin_step_reference(x, c, step_size.means, **exact, **stream._asdict())
    slack = _slack(x, c, step_size.means, noise_std.means, stream, bounds.means)
    if residual is not None:
        memory.expect(residual, u - c)
    if statistics is not None:
        memory.expect(statistics, want_statistics)
    if inplace:
        memory.expect(x, new_x, slack)
        call.check = lambda got: _check_is(got, None if raw else x)
        return
    if not transition:
        call.check = lambda got: check_same(got, new_x, "x", slack)
        return
    old = x.to(compute)

    def check(got: Any) -> None:
        moved, drift, dot, square = (*got[:2], *got[2].T) if raw else got
        check_same(moved, new_x, "x", slack)
        dots = _row_sums(c, moved.to(compute) - old)
        _check_all((drift, dot, square), (c, dots, _row_sums(c, c)))

    call.check = check


def _gradient(call: Call, x: Tensor) -> Tensor:
    draw, place = call.draw, call.memory.place
    if call.fault == "grad":
        kinds = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int32]
        wrong = draw.choice([dtype for dtype in kinds if dtype != x.dtype])
        bad = [x.to(wrong), x.new_zeros(len(x) + 1, *x.shape[1:]), x.new_zeros(*x.shape, 2)]
        if call.name == "drift":
            bad = [x.to(torch.int32), x.new_zeros(())]
        elif call.name == "langevin_step_" and x.numel() > 1 and x.is_contiguous():
            shifted = x.as_strided(x.shape, x.stride(), x.storage_offset() + 1)
            return draw.choice([*map(place, bad), shifted])
        return place(draw.choice(bad))
    kind = draw.choice(["own", "own", "own", "same", "expanded", "negated"])
    if kind == "same":
        return x
    values = draws.values(draw, tuple(x.shape), x.dtype)
    if kind == "expanded" and len(x) > 0:
        return place(values[:1]).expand(x.shape)
    if kind == "negated":
        return torch._neg_view(place(values))
    return place(values)


def _residual(call: Call, x: Tensor, grad: Tensor, compute: torch.dtype) -> Tensor:
    draw, place = call.draw, call.memory.place
    values = draws.values(draw, tuple(x.shape), compute)
    if call.fault != "residual":
        return place(values)
    bad = [place(values.half()), place(values.new_zeros(len(x) + 1, *x.shape[1:])),
           torch._neg_view(place(values))]  # fmt: skip
    if x.numel() > 0 and x.dtype == compute:
        bad.append(x)
    if x.numel() > 0 and grad.dtype == compute and grad.shape == x.shape:
        bad.append(grad if not grad.is_neg() else x.half())
    if len(x) > 1 and x.numel() > 0:
        bad.append(place(values[:1]).expand(x.shape))
    return draw.choice(bad)


def _statistics(
    call: Call, x: Tensor, grad: Tensor, residual: Tensor | None, compute: torch.dtype
) -> Tensor:
    place, n = call.memory.place, len(x)
    values = draws.values(call.draw, (n, 2), compute)
    if call.fault != "statistics":
        return place(values, plain=True)
    bad = [place(values.half(), plain=True), place(values.new_zeros(n + 1, 2), plain=True),
           place(values.new_zeros(n, 3), plain=True), torch._neg_view(place(values, plain=True))]
    for other in (x, residual, grad):
        if other is not None and other.dtype == compute and other.numel() >= 2 * n > 0:
            if other.is_contiguous() and not other.is_neg():
                bad.append(other.as_strided((n, 2), (2, 1), other.storage_offset()))
    return call.draw.choice(bad)


def _unwritable(call: Call, x: Tensor) -> Tensor:
    bad = [torch._neg_view(x), x.new_zeros((), dtype=x.dtype), x.to(torch.int64), x.cfloat()]
    if len(x) > 1 and x.numel() > 0:
        bad.append(call.memory.place(x[:1]).expand(x.shape))
    return call.draw.choice(bad)


def _scalar(
    call: Call, n: int, compute: torch.dtype, written: list[Tensor], *, bad: bool
) -> draws.Argument:
    """A step size or standard deviation, now and then one that lies in what the call writes."""
    draw = call.draw
    holders = [t for t in written if t.dtype == compute and t.numel() > 0 and len(t) == n]
    holders = [t for t in holders if t.dim() > 0 and not t.is_neg()]
    if bad or not holders or draw.random() < 0.7:
        return draws.number(draw, n, compute, bad=bad)
    holder = draw.choice(holders)
    inside = holder if holder.dim() == 1 else holder.flatten(1)[:, 0]
    if inside.untyped_storage().data_ptr() != holder.untyped_storage().data_ptr():
        inside = holder[(slice(None), *[0] * (holder.dim() - 1))]
    inside = draw.choice([inside, inside[n // 2]])
    return draws.Argument(lambda: inside, inside.clone())


def _clipped(grad: Tensor, clip: Any) -> tuple[Tensor, Tensor]:
    """``clip(grad)`` in the compute dtype, and the statistics of the gradient."""
    u = grad.resolve_neg().to(compute_dtype(grad.dtype))
    rows = u[:, None].flatten(1)
    squares = canonical_sum(rows * rows)
    changed = torch.zeros(rows.shape, dtype=torch.bool)
    if clip is not None:
        limit = torch.tensor(clip.limit, dtype=u.dtype)
        if isinstance(clip, eff.ClipValue):
            changed = rows.abs() > limit
            u = torch.where(u < -limit, -limit, torch.where(u > limit, limit, u))
        else:
            norm = sqrt(squares)
            changed = (norm > limit)[:, None].expand_as(rows)
            scale = torch.where(norm > limit, limit / norm, 1.0)
            u = u * scale.reshape(-1, *[1] * (u.dim() - 1))
    return u, torch.stack([squares, changed.sum(1).to(u.dtype)], dim=1)


def _row_sums(a: Tensor, b: Tensor) -> Tensor:
    return canonical_sum((a * b)[:, None].flatten(1))


def _slack(
    x: Tensor, c: Tensor, step_size: Any, noise_std: Any, stream: draws.Stream, bounds: Any
) -> Tensor | float:
    """How far a float64 state may be from the reference, whose fma is at most an ulp off."""
    if x.dtype != torch.float64:
        return 0.0
    shape = (-1, *[1] * (x.dim() - 1))
    steps = torch.as_tensor(step_size, dtype=x.dtype).reshape(shape)
    noises = steps.sqrt() if noise_std is None else torch.as_tensor(noise_std, dtype=x.dtype)
    xi = normals(len(x), row_size(x), stream.seed, stream.offset, stream.first_chain)
    terms = x.abs() + (steps * c).abs() + (noises.reshape(shape) * xi.reshape(x.shape)).abs()
    if bounds is not None:
        terms = terms + sum(abs(b) for b in eff.limits.interval(bounds) if abs(b) < draws.INF)
    return torch.where(terms.isfinite(), 8 * _ULP * terms + 1e-320, 0.0)


def _raw_step(
    call: Call, x: Tensor, grad: Tensor, residual: Tensor | None, statistics: Tensor | None,
    delta: Tensor | None, step_size: draws.Argument, noise_std: draws.Argument,
    rng: draws.Argument, known: Any, clip: Any, bounds: draws.Argument,
) -> Callable[[], Any]:  # fmt: skip
    """The call of the op itself."""
    draw, compute = call.draw, compute_dtype(x.dtype)
    code, size, offsets = (_C.COMPRESSOR_NONE, 0, None) if known is None else known.codes
    own = {"compressor": code, "compressor_size": size,
           "block_offsets": None if offsets is None else torch.tensor(offsets)}  # fmt: skip
    if clip is not None:
        own |= {"clip": _C.CLIP_VALUE, "clip_limit": clip.limit}
        if isinstance(clip, eff.ClipNorm):
            own["clip"] = _C.CLIP_NORM
    if call.fault == "codes":
        own |= _bad_codes(draw, row_size(x))
    if call.name == "drift":
        if call.fault == "raw":
            delta = x.new_zeros(len(x) + 1, *x.shape[1:], dtype=compute)
        return lambda: RAW.drift(grad, delta, _C.ROW_SUMS_TRANSITION, **own)
    if call.fault in ("step_size", "noise_std", "rng", "bounds", "raw"):
        bad = [{"key": torch.zeros(2)}, {"key": torch.zeros(3, dtype=torch.int64)},
               {"first_chain": -1}, {"first_chain": 2**63 - 1}, {"first_chain": 2**32 + 1},
               {"bounds": 3}, {"bounds": -1}, {"bounds": 1, "lower": 1.0, "upper": 0.0},
               {"step_sizes": torch.zeros(len(x) + 1, dtype=compute)},
               {"noise_stds": torch.zeros(len(x) + 1, dtype=compute)},
               {"step_sizes": torch.zeros(len(x), dtype=torch.float16)}]  # fmt: skip
        own |= draw.choice(bad)
    stream = rng.means or draws.Stream(0, 0, 0)
    signed = stream.seed - 2**64 if stream.seed >= 2**63 else stream.seed
    arguments = {"key": torch.tensor([signed, stream.offset]), "offset": 0,
                 "first_chain": stream.first_chain, "step_size": 0.0}  # fmt: skip
    for name, value in (("step_size", step_size), ("noise_std", noise_std)):
        if isinstance(value.means, Tensor):
            inside = value.make()  # which may lie in what the op writes
            arguments[f"{name}s"] = inside if inside.dtype == compute else value.means
        elif value.means is not None:
            arguments[name] = value.means
    if bounds.means is not None:
        mirror = isinstance(bounds.means, eff.Reflect)
        arguments["bounds"] = _C.BOUNDS_REFLECT if mirror else _C.BOUNDS_CLAMP
        arguments["lower"], arguments["upper"] = eff.limits.interval(bounds.means)
    arguments |= own
    tensors = {"langevin_step_": [x, grad, residual, statistics], "langevin_step": [x, grad],
               "langevin_transition": [x, grad, residual]}[call.name]  # fmt: skip
    return lambda: getattr(RAW, call.name)(*tensors, **arguments)


def _bad_codes(draw: random.Random, dim: int) -> dict[str, Any]:
    signs = {"compressor": _C.COMPRESSOR_BLOCK_SIGN, "compressor_size": 1}
    return draw.choice([
        {"compressor": 3}, {"compressor": -1}, {"clip": 3}, {"clip": -1},
        {"compressor": _C.COMPRESSOR_TOPK, "compressor_size": dim + 1},
        {"compressor": _C.COMPRESSOR_TOPK, "compressor_size": -1},
        signs | {"compressor_size": 0, "block_offsets": None},
        *[signs | {"block_offsets": offsets} for offsets in bad_offsets(dim)],
    ])  # fmt: skip


def bad_offsets(dim: int) -> list[Tensor]:
    """What no op may take for the blocks of a row of ``dim``."""
    numbers = [[0, dim + 1], [1, dim + 1], [0, 10**8], [0, -5, dim], [-1, dim], [0, dim, dim], [0],
               [], [0, dim // 2, dim // 2, dim], [0, dim, dim - 1, dim], [2**62, -(2**62)],
               [[0, dim]]]  # fmt: skip
    wrong = [torch.tensor(n, dtype=torch.int64) for n in numbers]
    strided = torch.tensor([0, 5, dim, 7], dtype=torch.int64)[::2]
    return [*wrong, strided, torch.tensor([0, dim], dtype=torch.int32), torch.tensor([0.0, dim])]


def perturbed_pair(call: Call) -> None:
    draw, memory = call.draw, call.memory
    dtype, shape = draws.dtype_and_shape(draw)
    compute, n = compute_dtype(dtype), shape[0]
    fault = call.choose_fault(["x", "radius", "noise_std", "rng"])
    x = memory.place(draws.values(draw, shape, dtype))
    radius = draws.number(draw, n, compute, bad=fault == "radius")
    noise_std = draws.number(draw, n, compute, bad=fault == "noise_std")
    rng = draws.rng(draw, n, bad=fault == "rng")
    state = draw.choice([x.int(), x.cfloat(), x.new_zeros(())]) if fault == "x" else x
    call.invoke = lambda: eff.perturbed_pair(
        state, radius.make(), noise_std=noise_std.make(), rng=rng.make()
    )
    call.told |= {"dtype": dtype, "shape": shape, "radius": radius.means,
                  "noise_std": noise_std.means, "rng": rng.means}  # fmt: skip
    if fault is None:
        scales = {"noise_std": noise_std.means, **rng.means._asdict()}
        want = perturbed_pair_reference(x, radius.means, **scales)
        finite = want.x[want.x.isfinite()].abs()
        slack = 8 * _ULP * finite.sum() if dtype == torch.float64 else 0.0
        call.check = lambda got: (
            check_same(got.x, want.x, "x", slack),
            check_same(got.noise_dot, want.noise_dot, "noise_dot"),
        )


def compress(call: Call) -> None:
    """topk_compress and block_sign_compress."""
    draw, name = call.draw, call.name
    dtype, shape = draws.dtype_and_shape(draw)
    dim, raw = row_size(torch.empty(shape)), draw.random() < 0.5
    fault = call.choose_fault(["blocks", "x"])
    x = call.memory.place(draws.values(draw, shape, dtype))
    state = draw.choice([x.int(), x.cfloat(), x.new_zeros(())]) if fault == "x" else x
    code = _C.COMPRESSOR_TOPK if name == "topk_compress" else _C.COMPRESSOR_BLOCK_SIGN
    drawn = draws.compressor(draw, dim, bad=False)
    while drawn.means.codes[0] != code:
        drawn = draws.compressor(draw, dim, bad=False)
    _, size, offsets = drawn.means.codes
    blocks = None if offsets is None else torch.tensor(offsets)
    if fault == "blocks" and code == _C.COMPRESSOR_TOPK:
        size = draw.choice([dim + 1, -1])
    elif fault == "blocks":
        bad = bad_offsets(dim)[: None if raw else -3]  # of the last three it takes the numbers
        size, blocks = draw.choice([(0, None), (-1, None), *[(1, b) for b in bad]])
    call.told |= {"raw": raw, "dtype": dtype, "shape": shape, "size": size, "offsets": blocks}
    if fault is None:
        want = drawn.means.compress(x)
        call.check = lambda got: check_same(got, want, name)
    if code == _C.COMPRESSOR_TOPK:
        call.invoke = lambda: (RAW if raw else eff).topk_compress(state, size)
    elif raw:
        call.invoke = lambda: RAW.block_sign_compress(state, size, blocks)
    else:
        given = size if blocks is None else None
        call.invoke = lambda: eff.block_sign_compress(state, given, block_offsets=blocks)


def pack(call: Call) -> None:
    """signs_pack, signs_unpack and entries_pack, by way of the compressors or without them."""
    draw = call.draw
    dtype, shape = draws.dtype_and_shape(draw)
    dim, compute = row_size(torch.empty(shape)), compute_dtype(dtype)
    fault = call.choose_fault(["blocks", "c"])
    drawn = draws.compressor(draw, dim, bad=False)
    while drawn.means.codes[0] == -1:
        drawn = draws.compressor(draw, dim, bad=False)
    code, size, offsets = drawn.means.codes
    c = call.memory.place(drawn.means.compress(draws.values(draw, shape, compute)))
    call.told |= {"dtype": compute, "shape": shape, "codes": drawn.means.codes}
    if fault == "c":
        given = draw.choice([c.half(), c.long(), c.new_zeros(())])
        call.invoke = lambda: drawn.make().pack(given)
    elif fault == "blocks" and code == _C.COMPRESSOR_TOPK:
        call.invoke = lambda: RAW.entries_pack(c, draw.choice([-1, dim + 1]))
    elif fault == "blocks":
        bad = draw.choice(bad_offsets(dim))
        words = torch.zeros(shape[0], -(-dim // 32), dtype=torch.int32)
        scales = c.new_zeros(shape[0], max(bad.numel() - 1, 0))
        unpack = draw.random() < 0.5
        call.invoke = lambda: (
            RAW.signs_unpack(words, None, scales, dim, 1, bad) if unpack
            else RAW.signs_pack(c, 1, bad)
        )  # fmt: skip
    else:
        call.invoke = lambda: drawn.make().pack(c).unpack()
        call.check = lambda got: check_same(got, c, "unpacked")


def _check_all(got: Any, want: Any) -> None:
    for name, one, other in zip(("drift", "dot", "square"), got, want, strict=True):
        check_same(one, other, name)


def _check_is(got: object, want: object) -> None:
    if got is not want:
        raise Wrong(f"expected the state to come back, got {type(got).__name__}")


_BUILDERS = {
    "perturbed_pair": perturbed_pair,
    "topk_compress": compress,
    "block_sign_compress": compress,
    "pack": pack,
}
