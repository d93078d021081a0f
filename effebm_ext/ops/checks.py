"""Checks that the ops make of their tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.compiler import is_compiling

from effebm_ext import extension
from effebm_ext.scalars import as_float
from effebm_ext.transforms import (
    is_transformed,
    needs_no_grad,
    refuse_derivatives,
    refuse_transforms,
    without_levels,
)

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_LARGEST = {dtype: torch.finfo(dtype).max for dtype in (torch.float32, torch.float64)}
_LARGEST_FLOAT32 = _LARGEST[torch.float32]


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type the arithmetic on a state of ``dtype`` is done in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_state(x: Tensor, name: str = "x") -> None:
    """A floating-point tensor ``(n_chains, *event)`` on a device that has kernels."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(x).__name__}")
    if x.is_cpu and x.dtype in DTYPES and x.dim() > 0:
        return
    if x.dtype not in DTYPES:
        raise TypeError(f"{name}: expected float32, float64, bfloat16 or float16, got {x.dtype}")
    if x.dim() == 0:
        raise ValueError(f"{name}: expected shape (n_chains, *event), got a tensor without axes")
    if x.device.type == "cuda" and extension.cuda_missing:
        raise RuntimeError(
            f"{name} is on {x.device}, but {extension.cuda_missing}. Move it with .cpu(), or "
            "reinstall from source where PyTorch has CUDA and nvcc is found: "
            "pip install --no-build-isolation --force-reinstall --no-deps ."
        )
    if x.device.type not in ("cpu", "cuda", "meta"):
        raise RuntimeError(f"{name}: expected a CPU or CUDA tensor, got one on {x.device}")


def check_like(other: Tensor, x: Tensor, name: str, dtype: torch.dtype) -> None:
    """``other`` has the shape and device of ``x``, and ``dtype``."""
    on_cpu = type(other) is Tensor and other.is_cpu and x.is_cpu
    if on_cpu and other.dtype is dtype and other.shape == x.shape:
        return  # asking for devices takes longer
    if not isinstance(other, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(other).__name__}")
    if other.dtype != dtype:
        raise TypeError(f"{name}: expected {dtype} for a state of {x.dtype}, got {other.dtype}")
    if other.shape != x.shape:
        raise ValueError(
            f"{name}: expected the shape of x, {tuple(x.shape)}, got {tuple(other.shape)}"
        )
    if other.device != x.device:
        raise ValueError(f"{name}: expected a tensor on {x.device}, got one on {other.device}")


def chain_scalar(value: float | Tensor, x: Tensor, name: str) -> tuple[float, Tensor | None]:
    """A number as (number, None), a tensor as (0.0, tensor in the compute dtype). A tensor without
    axes stays one, so that nobody waits for its device."""
    if type(value) is not float and isinstance(value, Tensor):
        if value.dim() > 1 or (value.dim() == 1 and value.shape[0] != x.shape[0]):
            raise ValueError(
                f"{name}: expected a number or a tensor of shape () or ({x.shape[0]},), "
                f"got shape {tuple(value.shape)}"
            )
        return 0.0, _real_values(value, x, name)
    if type(value) is float and 0 <= value < _LARGEST_FLOAT32 and not is_compiling():
        return value, None  # what nearly every call has
    number, dtype = as_float(value, name, "a number or a tensor"), compute_dtype(x.dtype)
    if not 0 <= number <= _LARGEST[dtype]:
        raise ValueError(f"{name}: expected a finite number >= 0, got {value}")
    if is_compiling():  # as a constant of the graph every value would recompile it
        return 0.0, torch.ones((), dtype=dtype, device=x.device) * number
    return number, None


def element_scalar(value: float | Tensor, x: Tensor, name: str) -> tuple[float, Tensor | None]:
    """The same for what the elements of a chain may have too: a tensor may also be ``(1, *event)``
    or ``(n_chains, *event)``."""
    if type(value) is float or not isinstance(value, Tensor) or value.dim() < 2:
        return chain_scalar(value, x, name)
    n, *event = x.shape
    if value.dim() != x.dim() or value.shape[0] not in (1, n) or [*value.shape[1:]] != event:
        raise ValueError(
            f"{name}: expected a number or a tensor of shape (), ({n},), {(1, *event)} or "
            f"{(n, *event)}, got shape {tuple(value.shape)}"
        )
    return 0.0, _real_values(value, x, name)


def _real_values(value: Tensor, x: Tensor, name: str) -> Tensor:
    if value.dtype == torch.bool or value.is_complex():
        raise TypeError(f"{name}: expected a tensor of real numbers, got {value.dtype}")
    return value.detach().to(x.device, compute_dtype(x.dtype))


def check_writable(x: Tensor, name: str) -> None:
    """An in-place op may write ``x``: no two elements share memory."""
    if x.is_contiguous():
        return
    if x.layout != torch.strided:
        raise TypeError(f"{name}: expected a dense tensor, got one of layout {x.layout}")
    if x.numel() > 0 and any(n > 1 and s == 0 for n, s in zip(x.shape, x.stride(), strict=True)):
        raise ValueError(f"{name}: expected a tensor of its own, got an expanded one; clone() it")


def check_not_negated(written: Tensor | None, name: str) -> None:
    """For what is written without an op. torch.compile cannot trace the question."""
    if not is_compiling():
        _refuse_negated(written, name)


def _refuse_negated(written: Tensor | None, name: str) -> None:
    if written is not None and written.is_neg():
        raise ValueError(
            f"{name}: expected a tensor that can be written, got a view whose sign is negated when "
            "it is read, such as z.conj().imag; resolve_neg() it"
        )


def check_apart(
    a: Tensor | None, b: Tensor | None, names: str, *, may_be_same: bool = False
) -> None:
    """Refuses tensors that overlap where one is written without the kernels, which ask too."""
    if type(a) is not Tensor or type(b) is not Tensor or is_compiling():
        return
    (begin_a, end_a), (begin_b, end_b) = _extent(without_levels(a)), _extent(without_levels(b))
    same = may_be_same and (begin_a, end_a) == (begin_b, end_b)
    if not (same or end_a <= begin_b or end_b <= begin_a):
        raise RuntimeError(f"{names}: expected tensors that do not overlap in memory")


def _extent(t: Tensor) -> tuple[int, int]:
    if t.numel() == 0 or t.is_meta:
        return 0, 0
    last = sum((n - 1) * stride for n, stride in zip(t.shape, t.stride(), strict=True))
    return t.data_ptr(), t.data_ptr() + (last + 1) * t.element_size()


_LIBRARY = torch.library.Library("effebm", "FRAGMENT")


def refuse_negated(op: OpOverload) -> None:
    """Lets an op refuse to write negated views. PyTorch, which runs ops on copies of such views,
    would raise its error after the op has written the other tensors. (The wrappers need not ask: a
    kernel for negated views costs nothing where there are none.)"""
    written = [(i, a.name) for i, a in enumerate(op._schema.arguments) if a.alias_info is not None]

    def run(*arguments: Any) -> Any:
        for i, name in written:
            _refuse_negated(arguments[i], name)
        return op(*(a.resolve_neg() if isinstance(a, Tensor) else a for a in arguments))

    _LIBRARY.impl(op._schema.name, run, "Negative")


def check_residual(residual: Tensor, x: Tensor, compressor: object) -> None:
    """The error-feedback memory of a step, which is written, fits ``x`` and has a compressor whose
    error does not grow in it."""
    if compressor is None:
        raise ValueError("residual: expected a compressor with it, got compressor=None")
    check_shrinks(compressor, "residual")
    check_like(residual, x, "residual", compute_dtype(x.dtype))
    check_writable(residual, "residual")


def check_shrinks(compressor: object, name: str) -> None:
    """A compressor's error may be fed back."""
    check_moves_all(compressor, name, "an entry that rests leaves no error behind")
    if not getattr(compressor, "shrinks", True):
        raise ValueError(
            f"{name}: expected a compressor whose error is no larger than what it is given, as the "
            f"error would else grow from step to step, got {compressor}"
        )


def check_moves_all(compressor: object, name: str, reason: str) -> None:
    """A step with this compressor moves all entries."""
    if getattr(compressor, "moves_kept", False):
        raise ValueError(
            f"{name}: expected a compressor whose steps move all entries, as {reason}, got "
            f"{compressor}"
        )


def increment_version(written: Tensor) -> None:
    """Lets autograd know that an op wrote a tensor; torch.compile does this itself."""
    if not is_compiling() and not written.is_inference():
        torch.autograd.graph.increment_version(written)


def check_not_differentiated(op: str, *arguments: object) -> None:
    """No derivative by one of the arguments is taken, in reverse or in forward mode."""
    if is_transformed():
        refuse_derivatives(op, [a for a in arguments if isinstance(a, Tensor)])
    elif torch.is_grad_enabled():
        _check_no_leaf(op, arguments)


def check_not_transformed(op: str, *arguments: object) -> None:
    """The same, for an op that has no rule for vmap: none of the arguments is vmapped either."""
    if is_transformed():
        refuse_transforms(op, [a for a in arguments if isinstance(a, Tensor)])
    elif torch.is_grad_enabled():
        _check_no_leaf(op, arguments)


def _check_no_leaf(op: str, arguments: tuple[object, ...]) -> None:
    for a in arguments:
        if a is None or type(a) is float:  # asking what a float is an instance of takes longer
            continue
        if isinstance(a, Tensor) and a.requires_grad:
            raise RuntimeError(needs_no_grad(op))


def is_differentiated(*tensors: Tensor) -> bool:
    """Tells whether autograd follows an op on these tensors, where no transform is on."""
    if torch.is_grad_enabled():
        for t in tensors:
            if t.requires_grad:  # any() takes longer
                return True
    return False


def row_size(x: Tensor) -> int:
    """Number of elements of one chain."""
    size = 1
    for n in x.shape[1:]:
        size = size * n
    return size
