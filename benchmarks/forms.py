"""``x -= step_size / 2 * C(grad)`` in plain PyTorch, in the forms worth trying.

They are what a careful user would write: in place, nothing allocated per call where ``out=`` can
help it. Several forms of one operation compete: which is fastest depends on shape and device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.linalg import vector_norm

import effebm_ext as eff
from effebm_ext.ops.compressor import Compressor

# Large, so that in a 16-bit state, too, a wrong move stands out from rounding.
STEP_SIZE = 0.5
HALF_STEP = STEP_SIZE / 2

Move = Callable[[Tensor, Tensor], object]
Scratch = dict[str, Any]


def moves(
    compressor: Compressor | None, dim: int, scratch: Callable[[], Scratch]
) -> dict[str, Move]:
    """The forms by name, each with scratch memory of its own.

    A form takes its buffers from there by ``get``: from an empty one it allocates what it needs.
    """
    if compressor is None:
        return {"add_": lambda x, g: x.add_(g, alpha=-HALF_STEP)}
    if isinstance(compressor, eff.TopK):
        k = compressor.entries(dim)
        forms = {"scatter": _scatter, "threshold": _threshold, "kthvalue": _kthvalue}
        return {name: functools.partial(form, k, scratch()) for name, form in forms.items()}
    if isinstance(compressor, eff.RandomK):
        k, factor = compressor.entries(dim), dim / compressor.entries(dim)
        random_forms = {"scatter": _random_scatter, "multiply": _random_mask}
        return {n: functools.partial(f, k, factor, scratch()) for n, f in random_forms.items()}
    if isinstance(compressor, eff.NaturalCompression):
        bits = compressor.mantissa_bits
        return {"exponent": functools.partial(_rounded, bits, scratch())}
    assert isinstance(compressor, eff.BlockSign)
    size = compressor.block_size
    blocks = {"abs-mean": _abs_mean, "norm-sign": _norm_sign, "copysign": _copysign}
    return {name: _blockwise(form, size, scratch) for name, form in blocks.items()}


def _scatter(k: int, s: Scratch, x: Tensor, g: Tensor) -> None:
    magnitude = torch.abs(g, out=s.get("magnitude"))
    index = torch.topk(magnitude, k, 1, sorted=False, out=s.get("selected"))[1]
    x.scatter_add_(1, index, torch.gather(g, 1, index, out=s.get("kept")).mul_(-HALF_STEP))


def _threshold(k: int, s: Scratch, x: Tensor, g: Tensor) -> None:
    magnitude = torch.abs(g, out=s.get("magnitude"))
    least = torch.topk(magnitude, k, 1, sorted=False, out=s.get("selected"))[0].amin(1, True)
    x.addcmul_(g, _kept(magnitude, least, s), value=-HALF_STEP)


def _kthvalue(k: int, s: Scratch, x: Tensor, g: Tensor) -> None:
    magnitude = torch.abs(g, out=s.get("magnitude"))
    least = torch.kthvalue(magnitude, g.shape[1] - k + 1, 1, True, out=s.get("selected"))[0]
    x.addcmul_(g, _kept(magnitude, least, s), value=-HALF_STEP)


def _random_scatter(k: int, factor: float, s: Scratch, x: Tensor, g: Tensor) -> None:
    random = torch.rand(g.shape, dtype=g.dtype, device=g.device, out=s.get("magnitude"))
    index = torch.topk(random, k, 1, sorted=False, out=s.get("selected"))[1]
    kept = torch.gather(g, 1, index, out=s.get("kept"))
    x.scatter_add_(1, index, kept.mul_(-HALF_STEP * factor))


def _random_mask(k: int, factor: float, s: Scratch, x: Tensor, g: Tensor) -> None:
    random = torch.rand(g.shape, dtype=g.dtype, device=g.device, out=s.get("magnitude"))
    least = torch.topk(random, k, 1, sorted=False, out=s.get("selected"))[0].amin(1, True)
    x.addcmul_(g, _kept(random, least, s), value=-HALF_STEP * factor)


def _rounded(bits: int, s: Scratch, x: Tensor, g: Tensor) -> None:
    """Scaled so that the short numbers are integers; a random number below one, and down."""
    mantissa, exponent = torch.frexp(g)
    scaled = torch.ldexp(mantissa.abs_(), torch.tensor(bits + 1, device=g.device))
    whole = scaled.add_(torch.rand(g.shape, dtype=g.dtype, device=g.device, out=s.get("magnitude")))
    short = torch.ldexp(whole.floor_(), exponent.sub_(bits + 1))
    x.add_(torch.copysign(short, g, out=s.get("sign")), alpha=-HALF_STEP)


def _kept(magnitude: Tensor, least: Tensor, s: Scratch) -> Tensor:
    """1 where an entry is kept, else 0, as numbers: straight into a buffer of the state's dtype."""
    kept = s.get("kept")
    if kept is None:
        return torch.ge(magnitude, least).to(magnitude.dtype)
    return torch.ge(magnitude, least, out=kept)


def _blockwise(form: Callable[..., object], size: int, scratch: Callable[[], Scratch]) -> Move:
    """The form on the whole blocks of every row, and on the short last one if there is one."""
    whole, last = scratch(), scratch()

    def move(x: Tensor, g: Tensor) -> None:
        rows, dim = g.shape
        if (rest := dim % size) == 0:
            form(x.view(rows, -1, size), g.view(rows, -1, size), whole, size)
            return
        if dim > size:
            blocks = (t[:, :-rest].unflatten(1, (-1, size)) for t in (x, g))
            form(*blocks, whole, size)
        form(x[:, None, -rest:], g[:, None, -rest:], last, rest)

    return move


def _abs_mean(x: Tensor, g: Tensor, s: Scratch, size: int) -> None:
    magnitude = torch.abs(g, out=s.get("magnitude"))
    scale = torch.mean(magnitude, -1, keepdim=True, out=s.get("scale"))
    x.addcmul_(torch.sign(g, out=s.get("sign")), scale, value=-HALF_STEP)


def _norm_sign(x: Tensor, g: Tensor, s: Scratch, size: int) -> None:
    scale = vector_norm(g, 1, -1, True, out=s.get("scale"))
    x.addcmul_(torch.sign(g, out=s.get("sign")), scale, value=-HALF_STEP / size)


def _copysign(x: Tensor, g: Tensor, s: Scratch, size: int) -> None:
    """One pass less to read; it moves exact zeros, too, which random gradients do not hold."""
    scale = vector_norm(g, 1, -1, True, out=s.get("scale"))
    x.add_(torch.copysign(scale, g, out=s.get("sign")), alpha=-HALF_STEP / size)
