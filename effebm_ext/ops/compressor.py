"""Compressors: those that the kernels know, each in a file of its own, and any function of a
tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeGuard, TypeVar

import torch
from torch import Tensor

from effebm_ext import _C
from effebm_ext.ops.checks import check_state, compute_dtype, is_differentiated
from effebm_ext.ops.packing import Packed
from effebm_ext.ops.vmap import rule_by_folding
from effebm_ext.rng import Rng, key_arguments
from effebm_ext.transforms import forward_formula, is_transformed

Number = TypeVar("Number", int, float)
# The code of the compressor, its size, and the offsets of its blocks.
CompressorArguments = tuple[int, int, Tensor | None]
NO_COMPRESSOR: CompressorArguments = (_C.COMPRESSOR_NONE, 0, None)

# The key of random numbers, int64 (2,), with offset and first_chain.
KeyArguments = tuple[Tensor | None, int, int]
NO_KEY: KeyArguments = (None, 0, 0)

COMPRESS = torch.ops.effebm.compress.default


class FusedCompressor:  # no ABC, whose isinstance takes longer
    """A compressor that the kernels know, so that it is a part of the fused step.

    Attributes:
        name: the compressor's name in the list of the kernels (csrc/core/compressors.h).
        code: the number by which the ops know that name.
        text_form: how a configuration writes the compressor.
        is_random: the compressor draws random numbers.
        shrinks: the error ``u - C(u)`` can be fed back: it is in the mean no larger than u, and
            later steps can make up for it.
        moves_kept: a Langevin step moves no other entries than those that this keeps.
    """

    name: ClassVar[str]
    code: ClassVar[int]
    text_form: ClassVar[str]
    is_random: ClassVar[bool] = False
    moves_kept: ClassVar[bool] = False
    known: ClassVar[dict[str, type[FusedCompressor]]] = {}

    def __init_subclass__(cls) -> None:
        if "name" in cls.__dict__:
            FusedCompressor.known[cls.name] = cls
            cls.code = _C.COMPRESSORS[cls.name]

    @classmethod
    def parse(cls, text: str) -> FusedCompressor:
        """Makes the compressor from what follows its name and a colon in a configuration.

        Raises:
            ValueError: the text is of another form.
        """
        raise NotImplementedError

    @classmethod
    def number(cls, text: str, kind: Callable[[str], Number]) -> Number:
        """Returns the number in a text of :meth:`parse`, of the kind int or float.

        Raises:
            ValueError: the text is no such number; the message has the form that is expected.
        """
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"expected {cls.text_form}") from None

    def kernel_arguments(self, x: Tensor) -> CompressorArguments:
        """Returns the arguments by which the ops know this compressor, for chains like those of
        ``x``: its code, size and block offsets.

        Raises:
            ValueError: the compressor does not fit the rows of ``x``.
        """
        raise NotImplementedError

    def vjp(self, u: Tensor, v: Tensor, key: KeyArguments = NO_KEY) -> Tensor:
        """Returns ``v`` times the derivative of :meth:`compress` at ``u`` with the random numbers
        of ``key``, a symmetric matrix."""
        raise NotImplementedError

    def kept(self, x: Tensor, key: KeyArguments) -> Tensor:
        """Tells which entries are kept of a tensor like ``x``, of which none is zero: bool."""
        ones = torch.ones_like(x, dtype=compute_dtype(x.dtype))
        return COMPRESS(ones, *self.kernel_arguments(x), *key) != 0

    def pack(self, c: Tensor) -> Packed:
        """Returns a tensor that this has compressed in less memory; ``pack(c).unpack()`` is c, bit
        for bit."""
        raise NotImplementedError

    def reference(self, u: Tensor, seed: int, offset: int, first_chain: int) -> Tensor:
        """Returns ``C(u)`` in plain PyTorch, equal to :meth:`compress` in bits."""
        raise NotImplementedError

    @property
    def shrinks(self) -> bool:
        return True

    def compress(self, x: Tensor, *, rng: Rng = None) -> Tensor:
        """Returns ``C(x)``, a new contiguous tensor of x's shape and dtype.

        Args:
            x: float32, float64, bfloat16 or float16 ``(n_chains, *event)``, any strides.
            rng: as in :func:`effebm_ext.langevin_step_`; used by compressors that are random.

        Differentiable almost everywhere, in reverse and in forward mode. ``torch.vmap`` folds its
        axis into the chains.

        Raises:
            TypeError: x is not a tensor of one of these dtypes.
            ValueError: the compressor does not fit the rows of x.
            RuntimeError: x is on a device this build has no kernels for.
        """
        check_state(x)
        arguments = self.kernel_arguments(x)
        key = key_arguments(rng, x) if self.is_random else NO_KEY
        if is_transformed():
            return _Transformable.apply(x, self, *arguments, *key)
        if is_differentiated(x):
            return _Differentiable.apply(x, self, *arguments, *key)
        return COMPRESS(x, *arguments, *key) if self.is_random else COMPRESS(x, *arguments)


Compressor = FusedCompressor | Callable[[Tensor], Tensor]


def is_black_box(compressor: Compressor | None) -> TypeGuard[Callable[[Tensor], Tensor]]:
    """Tells whether a compressor is a function, of which the kernels know nothing."""
    return callable(compressor)


def mover_of(compressor: Compressor | None) -> FusedCompressor | None:
    """Returns a compressor whose steps move only what it keeps, and None for any other."""
    if isinstance(compressor, FusedCompressor) and compressor.moves_kept:
        return compressor
    return None


def no_compressor(value: object) -> TypeError:
    """The error for a value that is not a compressor."""
    known = sorted(FusedCompressor.known.values(), key=lambda cls: cls.code)
    names = ", ".join(cls.__name__ for cls in known)
    return TypeError(
        f"compressor: expected {names}, a function of a tensor, or None, got {type(value).__name__}"
    )


def is_random(arguments: Mapping[str, Any]) -> bool:
    """Tells whether the compressor of an op's call draws random numbers."""
    return arguments["compressor"] in _C.RANDOM_COMPRESSORS


class _Differentiable(torch.autograd.Function):
    """The op in reverse mode only, as torch.compile traces no function that has a forward mode."""

    @staticmethod
    def forward(x: Tensor, compressor: FusedCompressor, *arguments: int | Tensor | None) -> Tensor:
        return COMPRESS(x, *arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.compressor, *_, key, ctx.offset, ctx.first_chain = inputs
        ctx.n_inputs = len(inputs)
        ctx.save_for_backward(x, key)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, key = ctx.saved_tensors
        to_x = ctx.compressor.vjp(x, gradient, (key, ctx.offset, ctx.first_chain))
        return to_x, *[None] * (ctx.n_inputs - 1)


class _Transformable(_Differentiable):
    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _Differentiable.setup_context(ctx, inputs, output)
        ctx.save_for_forward(inputs[0], inputs[-3])

    @staticmethod
    @forward_formula
    def jvp(ctx: Any, saved: Sequence[Tensor], tangent: Tensor, *_: None) -> Tensor:
        x, key = saved
        return ctx.compressor.vjp(x, tangent, (key, ctx.offset, ctx.first_chain))


@torch.library.register_fake("effebm::compress")
def _(x: Tensor, *arguments: object) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


torch.library.register_vmap(
    "effebm::compress", rule_by_folding(COMPRESS, key="key", draws=is_random)
)
