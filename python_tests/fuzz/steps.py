"""Random calls of langevin_step_, langevin_step, langevin_transition and drift."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

import effebm_ext as eff
from effebm_ext.ops.checks import compute_dtype, row_size
from effebm_ext.ops.langevin_step import langevin_step_reference
from effebm_ext.reference import canonical_sum, normals, sqrt
from fuzz import draws, raw
from fuzz.call import Call
from fuzz.memory import Wrong, check_same

_ULP = 2.0**-52  # of float64, whose reference of fma is not exact


@dataclasses.dataclass
class Step:
    """The arguments of a call, each as it is given and as it is meant."""

    call: Call
    x: Tensor
    grad: Tensor
    compressor: draws.Argument = draws.NOTHING
    clip: draws.Argument = draws.NOTHING
    bounds: draws.Argument = draws.NOTHING
    step_size: draws.Argument = draws.NOTHING
    noise_std: draws.Argument = draws.NOTHING
    rng: draws.Argument = draws.NOTHING
    residual: Tensor | None = None
    statistics: Tensor | None = None
    delta: Tensor | None = None
    stochastic_rounding: bool = False


def step(call: Call) -> None:
    is_raw = call.draw.random() < 0.4
    s = _draw(call, is_raw)
    call.invoke = (lambda: raw.invoke_step(s)) if is_raw else (lambda: _invoke(s))
    numbers = ("compressor", "clip", "bounds", "step_size", "noise_std", "rng")
    call.told["stochastic_rounding"] = s.stochastic_rounding
    call.told |= {name: getattr(s, name).means for name in numbers}
    tensors = ("residual", "statistics", "delta")
    call.told |= {name: getattr(s, name) is not None for name in tensors}
    call.told |= {"raw": is_raw, "grad": s.grad.stride(), "x": s.x.stride()}
    if call.fault is None:
        _expect(s, is_raw)


def _draw(call: Call, is_raw: bool) -> Step:
    draw = call.draw
    inplace, drift = call.name == "langevin_step_", call.name == "drift"
    takes_residual = inplace or call.name == "langevin_transition"
    dtype, shape = draws.dtype_and_shape(draw)
    call.told |= {"dtype": dtype, "shape": shape, "threads": torch.get_num_threads()}
    compute, n, dim = compute_dtype(dtype), shape[0], row_size(torch.empty(shape))
    faults = ["grad", "raw", "raw"] if is_raw else ["grad", "compressor", "clip"]
    faults += ["residual"] * takes_residual + ["statistics", "x"] * inplace
    if not drift and not is_raw:
        faults += ["step_size", "noise_std", "rng", "bounds"]
    is_short = dtype.itemsize == 2
    faults += ["stochastic_rounding"] * (not drift and not is_short)
    fault = call.choose_fault(faults)

    def given(name: str, share: float) -> bool:
        return fault == name or draw.random() < share

    x = call.memory.place(draws.values(draw, shape, dtype))
    s = Step(call, x, _gradient(call, x))
    if given("compressor", 0.7):
        s.compressor = draws.compressor(draw, dim, bad=fault == "compressor", known=is_raw)
    if given("clip", 0.5):
        s.clip = draws.clip(draw, bad=fault == "clip")
    if given("bounds", 0.5):
        s.bounds = draws.bounds(draw, bad=fault == "bounds")
    known = s.compressor.means
    has_compressor = is_raw or (known is not None and known.shrinks)
    if given("residual", 0.5 * takes_residual * has_compressor):
        s.residual = _residual(s, compute)
    if given("statistics", 0.5 * inplace):
        s.statistics = _statistics(s, compute)
    written = [s.residual, s.statistics, s.x if inplace else None]
    s.step_size = _scalar(call, n, compute, written, bad=fault == "step_size")
    if given("noise_std", 0.6):
        s.noise_std = _scalar(call, n, compute, written, bad=fault == "noise_std")
    s.rng = draws.rng(draw, n, bad=fault == "rng")
    if drift and draw.random() < 0.6:
        s.delta = call.memory.place(draws.values(draw, shape, compute))
    if fault == "x":
        s.x = _unwritable(call, x)
    s.stochastic_rounding = not drift and given("stochastic_rounding", 0.4 * is_short)
    return s


def _invoke(s: Step) -> Any:
    """The call of the wrapper."""
    if s.call.name == "drift":
        own = {name: getattr(s, name).make() for name in ("compressor", "clip", "rng")}
        return eff.drift(s.grad, delta=s.delta, **own)
    own = {name: getattr(s, name).make() for name in ("compressor", "noise_std", "clip", "bounds")}
    if s.residual is not None:
        own["residual"] = s.residual
    if s.statistics is not None:
        own["statistics"] = s.statistics
    if s.stochastic_rounding:
        own["stochastic_rounding"] = True
    return getattr(eff, s.call.name)(s.x, s.grad, s.step_size.make(), rng=s.rng.make(), **own)


def _expect(s: Step, is_raw: bool) -> None:
    """What must come of a call without fault."""
    call, n = s.call, len(s.x)
    u, statistics = _clipped(s.grad, s.clip.means)
    if s.residual is not None:
        u = u + s.residual
    c = u if s.compressor.means is None else s.compressor.means.compress(u, s.rng.means)
    if call.name == "drift":
        dot = c.new_zeros(n) if s.delta is None else _row_sums(c, s.delta)
        want = (c, dot, _row_sums(c, c))
        call.check = lambda got: _check_drift((got[0], *got[1].T) if is_raw else got, want)
        return
    numbers = {"noise_std": s.noise_std.means, "bounds": s.bounds.means, **s.rng.means._asdict()}
    numbers["stochastic_rounding"] = s.stochastic_rounding
    new_x, _ = langevin_step_reference(s.x, c, s.step_size.means, **numbers)
    known = s.compressor.means
    if known is not None and known.moves is not None:
        new_x = torch.where(known.moves(s.x, s.rng.means), new_x, s.x)
    slack = _slack(s, c)
    if s.residual is not None:
        call.memory.expect(s.residual, u - c)
    if s.statistics is not None:
        call.memory.expect(s.statistics, statistics)
    if call.name == "langevin_step_":
        call.memory.expect(s.x, new_x, slack)
        call.check = lambda got: _check_is(got, None if is_raw else s.x)
        return
    if call.name == "langevin_step":
        call.check = lambda got: check_same(got, new_x, "x", slack)
        return

    def check(got: Any) -> None:
        x, drift, dot, square = (*got[:2], *got[2].T) if is_raw else got
        check_same(x, new_x, "x", slack)
        want_dot = _row_sums(c, x.to(c.dtype) - s.x.to(c.dtype))
        _check_drift((drift, dot, square), (c, want_dot, _row_sums(c, c)))

    call.check = check


def _gradient(call: Call, x: Tensor) -> Tensor:
    draw, place = call.draw, call.memory.place
    if call.fault == "grad":
        wrong = torch.float64 if x.dtype == torch.float32 else torch.float32
        bad = [x.to(wrong), x.long(), x.new_zeros(len(x) + 1, *x.shape[1:])]
        if call.name == "drift":
            bad = [x.long(), x.new_zeros(())]
        if call.name == "langevin_step_" and x.numel() > 1 and x.is_contiguous():
            bad.append(x.as_strided(x.shape, x.stride(), x.storage_offset() + 1))
        return draw.choice(bad)
    kind = draw.choice(["own", "own", "own", "same", "expanded", "negated"])
    if kind == "same":
        return x
    values = draws.values(draw, tuple(x.shape), x.dtype)
    if kind == "expanded" and len(x) > 0:
        return place(values[:1]).expand(x.shape)
    return torch._neg_view(place(values)) if kind == "negated" else place(values)


def _residual(s: Step, compute: torch.dtype) -> Tensor:
    x, grad, place = s.x, s.grad, s.call.memory.place
    values = draws.values(s.call.draw, tuple(x.shape), compute)
    if s.call.fault != "residual":
        return place(values)
    bad = [values.half(), values.new_zeros(len(x) + 1, *x.shape[1:]), torch._neg_view(values)]
    bad += [t for t in (x, grad) if t.numel() > 0 and t.dtype == compute and not t.is_neg()]
    if len(x) > 1 and x.numel() > 0:
        bad.append(place(values[:1]).expand(x.shape))
    return s.call.draw.choice(bad)


def _statistics(s: Step, compute: torch.dtype) -> Tensor:
    n = len(s.x)
    values = draws.values(s.call.draw, (n, 2), compute)
    if s.call.fault != "statistics":
        return s.call.memory.place(values, plain=True)
    bad = [values.half(), values.new_zeros(n + 1, 2), values.new_zeros(n, 3),
           torch._neg_view(values)]  # fmt: skip
    for t in (s.x, s.residual, s.grad):
        if t is not None and t.dtype == compute and t.numel() >= 2 * n > 0 and t.is_contiguous():
            bad.append(t.as_strided((n, 2), (2, 1), t.storage_offset()))
    return s.call.draw.choice(bad)


def _unwritable(call: Call, x: Tensor) -> Tensor:
    bad = [torch._neg_view(x), x.new_zeros(()), x.long(), x.cfloat()]
    if len(x) > 1 and x.numel() > 0:
        bad.append(call.memory.place(x[:1]).expand(x.shape))
    return call.draw.choice(bad)


def _scalar(
    call: Call, n: int, compute: torch.dtype, written: list[Tensor | None], *, bad: bool
) -> draws.Argument:
    """A step size or standard deviation, now and then one that lies in what the call writes."""
    holders = [t for t in written if t is not None and t.dtype == compute and t.numel() > 0]
    if not bad and call.draw.random() < 0.2:
        return draws.elements(call.draw, call.told["shape"], compute)
    if bad or call.fault is not None or not holders or call.draw.random() < 0.7:
        return draws.number(call.draw, n, compute, bad=bad)
    holder = call.draw.choice(holders)
    column = holder[(slice(None), *[0] * (holder.dim() - 1))]
    inside = call.draw.choice(
        [column, column[n // 2], *[holder] * (holder.shape == call.told["shape"])]
    )
    return draws.Argument(lambda: inside, inside.clone())


def _clipped(grad: Tensor, clip: Any) -> tuple[Tensor, Tensor]:
    """``clip(grad)`` in the compute dtype, and the statistics of the gradient."""
    u = grad.resolve_neg().to(compute_dtype(grad.dtype))
    rows = u[:, None].flatten(1)
    squares = canonical_sum(rows * rows)
    changed = torch.zeros(rows.shape, dtype=torch.bool)
    if isinstance(clip, eff.ClipValue):
        limit = torch.tensor(clip.limit, dtype=u.dtype)
        changed = rows.abs() > limit
        u = torch.where(u < -limit, -limit, torch.where(u > limit, limit, u))
    if isinstance(clip, eff.ClipNorm):
        limit, norm = torch.tensor(clip.limit, dtype=u.dtype), sqrt(squares)
        changed = (norm > limit)[:, None].expand_as(rows)
        scale = torch.where(norm > limit, limit / norm, 1.0)
        u = u * scale.reshape(-1, *[1] * (u.dim() - 1))
    return u, torch.stack([squares, changed.sum(1).to(u.dtype)], dim=1)


def _row_sums(a: Tensor, b: Tensor) -> Tensor:
    return canonical_sum((a * b)[:, None].flatten(1))


def _slack(s: Step, c: Tensor) -> Tensor | float:
    """How far a float64 state may be from the reference, whose fma is at most an ulp off."""
    x = s.x
    if x.dtype != torch.float64:
        return 0.0

    def against_x(values: Any) -> Tensor:
        tensor = torch.as_tensor(values, dtype=x.dtype)
        return tensor if tensor.dim() > 1 else tensor.reshape(-1, *[1] * (x.dim() - 1))

    steps, noise = against_x(s.step_size.means), s.noise_std.means
    noises = steps.sqrt() if noise is None else against_x(noise)
    stream = s.rng.means
    xi = normals(len(x), row_size(x), stream.seed, stream.offset, stream.first_chain)
    terms = x.abs() + (steps * c).abs() + (noises * xi.reshape(x.shape)).abs()
    if s.bounds.means is not None:
        limits = s.bounds.means.lower, s.bounds.means.upper
        terms = terms + sum(abs(limit) for limit in limits if abs(limit) < draws.INF)
    return torch.where(terms.isfinite(), 8 * _ULP * terms + 1e-320, 0.0)


def _check_drift(got: Any, want: Any) -> None:
    for name, one, other in zip(("drift", "dot", "square"), got, want, strict=True):
        check_same(one, other, name)


def _check_is(got: object, want: object) -> None:
    if got is not want:
        raise Wrong(f"expected the state to come back, got {type(got).__name__}")
