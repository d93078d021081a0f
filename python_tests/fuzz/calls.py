"""Random calls of the ops, through their wrappers and without them, and what must come of each."""

from __future__ import annotations

import random

import torch
from torch import Tensor

import effebm_ext as eff
from effebm_ext import _C
from effebm_ext.ops.checks import compute_dtype, row_size
from effebm_ext.ops.metropolis import metropolis_, metropolis_reference
from effebm_ext.ops.perturb import perturbed_pair_reference
from effebm_ext.ops.stochastic_round import stochastic_round_reference
from effebm_ext.rng import ROUNDING
from fuzz import draws
from fuzz.call import Call
from fuzz.memory import check_same
from fuzz.raw import RAW, bad_offsets, key_arguments
from fuzz.steps import step

_ULP = 2.0**-52  # of float64, whose reference of fma is not exact


def make_call(seed: int, number: int) -> Call:
    draw = random.Random(f"{seed} {number}")
    torch.set_num_threads(draw.choice([1, 1, 1, 2]))
    name = draw.choice([
        *["langevin_step_", "langevin_step", "langevin_transition", "drift"] * 2,
        *("perturbed_pair", "compress", "compress", "pack", "stochastic_round", "metropolis"),
    ])  # fmt: skip
    call = Call(name, draw)
    _BUILDERS.get(name, step)(call)
    return call


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
    """The op compress, by the compressors' methods, by its functions, or without a wrapper."""
    draw = call.draw
    dtype, shape = draws.dtype_and_shape(draw)
    dim, n = row_size(torch.empty(shape)), shape[0]
    fault = call.choose_fault(["compressor", "x"])
    x = call.memory.place(draws.values(draw, shape, dtype))
    state = draw.choice([x.int(), x.cfloat(), x.new_zeros(())]) if fault == "x" else x
    drawn = draws.compressor(draw, dim, bad=False, known=True)
    rng = draws.rng(draw, n, bad=False)
    code, size, offsets = drawn.means.codes
    how = draw.choice(["method", "function", "raw"])
    call.told |= {"how": how, "dtype": dtype, "shape": shape, "codes": drawn.means.codes,
                  "rng": rng.means}  # fmt: skip
    if fault is None:
        want = drawn.means.compress(x, rng.means)
        call.check = lambda got: check_same(got, want, "compressed")
    if fault == "compressor":
        call.invoke = lambda: _compress_wrongly(call, x)
    elif how == "raw":
        blocks = None if offsets is None else torch.tensor(offsets)
        key = key_arguments(rng.means).values()
        call.invoke = lambda: RAW.compress(state, code, size, blocks, *key)
    elif how == "function" and code == _C.COMPRESSORS["topk"]:
        call.invoke = lambda: eff.topk_compress(state, size)
    elif how == "function" and code == _C.COMPRESSORS["block_sign"]:
        given = size if offsets is None else None
        call.invoke = lambda: eff.block_sign_compress(state, given, block_offsets=offsets)
    else:
        call.invoke = lambda: drawn.make().compress(state, rng=rng.make())


def _compress_wrongly(call: Call, x: Tensor) -> Tensor:
    """A call whose compressor does not exist, or does not fit the rows."""
    draw, dim, codes = call.draw, row_size(x), _C.COMPRESSORS
    if draw.random() < 0.3:
        return eff.topk_compress(x, draw.choice([dim + 1, -1]))
    key = torch.tensor([1, 2])
    arguments = draw.choice([
        (codes["topk"], dim + 1), (codes["topk"], -1), (codes["block_sign"], 0),
        (codes["random_k"], dim + 1, None, key), (codes["natural"], 23, None, key),
        (codes["random_k"], 0), (codes["natural"], 0), (-1,), (1 + max(codes.values()),),
        (codes["natural"], 0, None, key.int()), (codes["natural"], 0, None, key, 0, -1),
        *[(codes["block_sign"], 1, offsets) for offsets in bad_offsets(dim)],
    ])  # fmt: skip
    return RAW.compress(x, *arguments)


def pack(call: Call) -> None:
    """Packing of compressed tensors, by way of the compressors or without them."""
    draw = call.draw
    dtype, shape = draws.dtype_and_shape(draw)
    dim, compute = row_size(torch.empty(shape)), compute_dtype(dtype)
    fault = call.choose_fault(["blocks", "c"])
    drawn = draws.compressor(draw, dim, bad=False, known=True)
    code = drawn.means.codes[0]
    stream = draws.rng(draw, shape[0], bad=False).means
    c = call.memory.place(drawn.means.compress(draws.values(draw, shape, compute), stream))
    call.told |= {"dtype": compute, "shape": shape, "codes": drawn.means.codes}
    if fault == "c":
        given = draw.choice([c.half(), c.long(), c.new_zeros(())])
        call.invoke = lambda: drawn.make().pack(given)
    elif fault == "blocks" and code == _C.COMPRESSORS["topk"]:
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


def _key_of(stream: draws.Stream) -> eff.Key:
    """A key of the same numbers; a generator may draw one whose offset is beyond those of keys."""
    return eff.Key(stream.seed, stream.offset % 2**56, stream.first_chain)


def stochastic_round(call: Call) -> None:
    """The op, by its wrapper or without it."""
    draw = call.draw
    _, shape = draws.dtype_and_shape(draw)
    n = shape[0]
    dtype = draw.choice([torch.bfloat16, torch.float16, torch.float8_e5m2, torch.uint8])
    limits = (-1.5, 2.0) if dtype == torch.uint8 else None
    fault = call.choose_fault(["x", "dtype", "limits", "rng"])
    x = call.memory.place(draws.values(draw, shape, torch.float32))
    state = draw.choice([x.half(), x.double(), x.new_zeros(())]) if fault == "x" else x
    rng = draws.rng(draw, n, bad=False).means
    key = _key_of(rng)
    if fault == "rng":
        key, state = eff.Key(0, 0, 2**32 - 1), x.new_zeros(2, 3)
    given = draw.choice([torch.int8, torch.float32]) if fault == "dtype" else dtype
    if fault == "limits":
        limits = (1.0, 1.0) if limits or draw.random() < 0.5 else (0.0, 1.0)
    call.told |= {"dtype": given, "shape": shape, "limits": limits, "key": key}
    if fault is None and draw.random() < 0.4:
        out = call.memory.place(torch.zeros(shape, dtype=dtype))
        ends = limits or (0.0, 0.0)
        call.invoke = lambda: RAW.stochastic_round(
            state, out, **key_arguments(rng), purpose=ROUNDING, lower=ends[0], upper=ends[1]
        )
        call.memory.expect(
            out, stochastic_round_reference(x, dtype, limits=limits, **rng._asdict())
        )
        call.check = lambda got: None
        return
    call.invoke = lambda: eff.stochastic_round(state, given, rng=key, limits=limits)
    if fault is None:
        want = stochastic_round_reference(x, dtype, limits=limits, **rng._asdict())
        call.check = lambda got: check_same(got, want, "rounded")


def metropolis(call: Call) -> None:
    """The op that accepts proposals."""
    draw, place = call.draw, call.memory.place
    dtype, energies = (draw.choice([torch.float32, torch.float64]) for _ in range(2))
    _, shape = draws.dtype_and_shape(draw)
    n = shape[0]
    fault = call.choose_fault(["log_ratio", "energy", "x", "drift", "new_x"])
    ratio = place(draws.values(draw, (n,), torch.float64))
    energy, new_energy = (place(draws.values(draw, (n,), energies)) for _ in range(2))
    rows = [place(draws.values(draw, shape, dtype)) for _ in range(4)]
    rng = draws.rng(draw, n, bad=False).means
    key = _key_of(rng)
    named = dict(
        zip(
            ("log_ratio", "energy", "new_energy", "x", "drift", "new_x", "new_drift"),
            (ratio, energy, new_energy, *rows),
            strict=True,
        )
    )
    call.told |= {"dtype": dtype, "energies": energies, "shape": shape, "key": key}
    if fault is None:
        want = metropolis_reference(*(t.clone() for t in named.values()), key)
        call.memory.expect(named["new_x"], want[0])
        call.memory.expect(named["new_drift"], want[1])
        call.check = lambda got: (
            check_same(got[0], want[2], "energy"),
            check_same(got[1], want[3], "probability"),
        )
    else:
        wrong = named[fault]
        named[fault] = draw.choice([wrong.cfloat(), wrong.new_zeros(n + 1, *wrong.shape[1:])])
    call.invoke = lambda: metropolis_(*named.values(), key)


_BUILDERS = {
    "stochastic_round": stochastic_round,
    "metropolis": metropolis,
    "perturbed_pair": perturbed_pair,
    "compress": compress,
    "pack": pack,
}
