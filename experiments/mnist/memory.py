"""What chains of pictures take: bytes per chain by part, and by the numbers that keep them."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import effebm_ext as eff
from effebm_ext.chains.storage import Storage
from effebm_ext.energies import frozen
from experiments.common.records import Row

PARTS = (
    "chain",
    "residual",
    "gradient",
    "activations",
    "drift",
    "resting chain",
    "resting residual",
)


class Numbers(NamedTuple):
    """The dtypes of chains that move and of their gradients' arithmetic, and how a replay buffer
    keeps chains."""

    moving: torch.dtype = torch.float32
    gradient: torch.dtype = torch.float32
    resting: Storage = Storage()


_CODES = Storage(torch.uint8, (-2.5, 2.5))
SETTINGS = {
    "float32": Numbers(),
    "bfloat16": Numbers(torch.bfloat16, torch.bfloat16),
    "float32, resting in bfloat16": Numbers(resting=Storage(torch.bfloat16)),
    "float32, resting in uint8": Numbers(resting=_CODES),
    "gradients in bfloat16": Numbers(gradient=torch.bfloat16),
    "gradients in bfloat16, resting in uint8": Numbers(gradient=torch.bfloat16, resting=_CODES),
}


def activations(energy: nn.Module, x: Tensor, dtype: torch.dtype) -> tuple[int, Tensor]:
    """Returns the bytes that autograd keeps for the gradient with respect to x, without the
    parameters and x itself, and the gradient, both in the arithmetic of ``dtype``. Copies of the
    parameters in a shorter dtype are among the bytes, and so is one of x, where a layer
    keeps it."""
    leaf = x.detach().requires_grad_()
    own = {t.untyped_storage().data_ptr() for t in (leaf, *energy.parameters())}
    kept: dict[int, Tensor] = {}

    def pack(t: Tensor) -> Tensor:
        if t.untyped_storage().data_ptr() not in own:
            kept[t.untyped_storage().data_ptr()] = t
        return t

    short = dtype != torch.float32
    arithmetic = torch.autocast("cpu", dtype) if short else contextlib.nullcontext()
    with frozen(energy), arithmetic, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        values = energy(leaf)
    (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return sum(t.untyped_storage().nbytes() for t in kept.values()), gradient


def bytes_per_chain(
    energy: nn.Module, x: Tensor, setting: str, compressor: Any, error_feedback: bool
) -> Row:
    """Returns the bytes of each part.

    Args:
        energy: an energy of the event.
        x: chains ``(n, *event)``, float32.
        setting: one of SETTINGS. Chains that move in bfloat16 are rounded stochastically.
        compressor: a compressor of ``effebm_ext``, or None.
        error_feedback: whether chains have a residual.
    """
    numbers = SETTINGS[setting]
    sampler = eff.Langevin(
        energy, step_size=0.01, compressor=compressor, error_feedback=error_feedback,
        stochastic_rounding=numbers.moving != torch.float32,
        gradient_dtype=None if numbers.gradient == torch.float32 else numbers.gradient,
    )  # fmt: skip
    state = sampler.init(x.to(numbers.moving), rng=eff.Key(0))
    sampler.advance_(state, 1)
    kept = numbers.resting.stored(state)
    of_all, gradient = activations(energy, state.x, numbers.gradient)
    shared = activations(energy, state.x[:0], numbers.gradient)[0]  # short copies of the parameters
    drift: Any = gradient.float()  # as steps take it, whatever the dtype of the states
    if compressor is not None:
        drift = compressor.pack(compressor.compress(drift, rng=eff.Key(0)))
    found = {
        "chain": state.x.nbytes,
        "residual": _bytes(state.residual),
        "gradient": gradient.nbytes,
        "activations": of_all - shared,
        "drift": drift.nbytes,
        "resting chain": kept.x.nbytes,
        "resting residual": _bytes(kept.residual),
    }
    return {name: value // len(x) for name, value in found.items()}


def total(row: Row, moving: int, resting: int) -> int:
    """Returns the bytes of so many chains in motion, with what finding their gradient takes, and
    of so many at rest in a buffer; ``row`` is of :func:`bytes_per_chain`."""
    in_motion = ("chain", "residual", "gradient", "activations")
    at_rest = ("resting chain", "resting residual")
    return moving * sum(row[n] for n in in_motion) + resting * sum(row[n] for n in at_rest)


def _bytes(t: Tensor | None) -> int:
    return 0 if t is None else t.nbytes
