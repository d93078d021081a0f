"""Compressors of the caller's own under autocast."""

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
            return c  # which the op refuses in words
        return c.to(u.dtype)


def keeping_dtype(compressor: Compressor | None) -> Compressor | None:
    """The same compressor, but one of the caller's own returns the dtype that it is given, as the
    ops demand, whatever autocast makes of its products."""
    return _KeepingDtype(compressor) if is_black_box(compressor) else compressor
