"""Memory that the tensors of a random call lie in, watched to the bit."""

from __future__ import annotations

import random
from typing import NamedTuple

import torch
from helpers import INTEGERS
from torch import Tensor

_MARGIN = 5  # elements on either side


class Wrong(Exception):
    """A call did not do what it must."""


class _Block(NamedTuple):
    memory: Tensor
    before: Tensor
    expected: Tensor  # after a call that works
    slack: Tensor  # how far from it an element may be; -1: not written, equal in every bit


class Memory:
    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._blocks: dict[int, _Block] = {}

    def place(self, values: Tensor, *, plain: bool = False) -> Tensor:
        """A tensor of these values: with axes in any order, with gaps, and not at the beginning of
        its memory; contiguous if ``plain``."""
        order, step = list(range(values.dim())), 1
        if not plain and self._draw.random() < 0.5:
            self._draw.shuffle(order)
            step = self._draw.choice([1, 1, 2])
        strides = [0] * values.dim()
        for axis in reversed(order):
            strides[axis] = step
            gap = 0 if plain else self._draw.choice([0, 0, 0, 2])
            step *= max(values.shape[axis] + gap, 1)
        offset = self._draw.randrange(_MARGIN)
        memory = torch.full((offset + step + _MARGIN,), 7, dtype=values.dtype)
        view = memory.as_strided(values.shape, strides, offset)
        view.copy_(values)
        slack = torch.full(memory.shape, -1.0, dtype=torch.float64)
        block = _Block(memory, memory.clone(), memory.clone(), slack)
        self._blocks[memory.untyped_storage().data_ptr()] = block
        return view

    def expect(self, view: Tensor, want: Tensor, slack: Tensor | float = 0.0) -> None:
        """A call that works writes these values there, or some at most ``slack`` away."""
        block = self._blocks[view.untyped_storage().data_ptr()]
        where = (view.shape, view.stride(), view.storage_offset())
        block.expected.as_strided(*where).copy_(want)
        block.slack.as_strided(*where).copy_(torch.as_tensor(slack))

    def check_untouched(self) -> None:
        for block in self._blocks.values():
            if not torch.equal(_bits(block.memory), _bits(block.before)):
                raise Wrong("an error left something written")

    def check(self) -> None:
        for memory, _, expected, slack in self._blocks.values():
            kept = slack < 0
            if not torch.equal(_bits(memory)[kept], _bits(expected)[kept]):
                raise Wrong("an input, or memory around a tensor, has changed")
            check_same(memory[~kept], expected[~kept], "what was written", slack[~kept])


def check_same(got: Tensor, want: Tensor, name: str, slack: Tensor | float = 0.0) -> None:
    """Equal shapes, dtypes and bits, where any NaN equals any NaN; or, where there is slack, values
    no further apart."""
    if (got.shape, got.dtype) != (want.shape, want.dtype):
        raise Wrong(f"{name}: expected {want.dtype} {tuple(want.shape)}, got {got.dtype}, "
                    f"{tuple(got.shape)}")  # fmt: skip
    slack = torch.as_tensor(slack, dtype=torch.float64)
    near = (got.double() - want.double()).abs() <= slack
    equal = (_bits(got) == _bits(want)) | (got.isnan() & want.isnan()) | (near & (slack > 0))
    if not equal.all():
        i = int((~equal).flatten().nonzero()[0])
        values = f"{got.flatten()[i].item()!r} for {want.flatten()[i].item()!r}"
        raise Wrong(
            f"{name}: {int((~equal).sum())} of {equal.numel()} differ, the first is {values}"
        )


def _bits(t: Tensor) -> Tensor:
    t = t.contiguous()
    return t.view(INTEGERS[t.element_size()]) if t.is_floating_point() else t
