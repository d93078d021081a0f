"""Messages that carry a packed tensor of every process to every process."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.futures import Future

from effebm_ext.ops.packing import Packed


def gathered(packed: Packed, group: dist.ProcessGroup | None) -> Future[Packed]:
    """Gathers packed tensors of one row, which have equal shapes and dtypes in all processes, by
    one message of each process; the result has a row for every process."""
    tensors = {name: t for name, t in packed.tensors().items() if t is not None}
    # Back ends cannot send every dtype, such as int16, but all can send bytes.
    parts = [t.view(torch.uint8) for t in tensors.values()]
    message = torch.cat(parts, 1)
    everyone = message.new_empty(dist.get_world_size(group), message.shape[1])
    work = dist.all_gather(list(everyone.split(1)), message, group=group, async_op=True)

    def read(done: Future[Any]) -> Packed:
        done.value()  # raises the error of a message that did not arrive
        rows = everyone.split([part.shape[1] for part in parts], 1)
        named = zip(tensors.items(), rows, strict=True)
        return packed.with_tensors({n: _read(r, t.dtype) for (n, t), r in named})

    return work.get_future().then(read)


def mean_of_rows(packed: Packed) -> Tensor:
    """Returns the mean over the rows, ``(n,)``, summed in their order. Only one row at a time is
    unpacked, as there may be many processes."""
    n = len(next(t for t in packed.tensors().values() if t is not None))
    total = _row(packed, 0)
    for i in range(1, n):
        total += _row(packed, i)
    return total / n


def _row(packed: Packed, i: int) -> Tensor:
    return packed.mapped(lambda t: t[i : i + 1]).unpack()[0]


def _read(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns bytes as another dtype; they may lie where numbers of this dtype may not begin."""
    return rows.clone(memory_format=torch.contiguous_format).view(dtype)
