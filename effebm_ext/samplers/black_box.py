"""Compressors that are functions of the caller, under autocast."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor

from effebm_ext.ops.compressor import Compressor, is_black_box


@dataclasses.dataclass(frozen=True)
class _KeepingDtype:
    compressor: Callable[[Tensor], Tensor]

    def __call__(self, u: Tensor) -> Tensor:
        c = self.compressor(u)
        if not isinstance(c, Tensor) or not c.is_floating_point():
            return c  # the op refuses it with a message
        return c.to(u.dtype)


def keeping_dtype(compressor: Compressor | None) -> Compressor | None:
    """Returns the same compressor; a function of the caller then returns the dtype that it is
    given, as the ops demand, whatever autocast makes of its products."""
    return _KeepingDtype(compressor) if is_black_box(compressor) else compressor
