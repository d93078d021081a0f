"""Communication hooks of DistributedDataParallel that send compressed gradients.

In every iteration each process adds what it has kept back so far, its residual, to its gradient,
sends the compressed sum, and keeps the difference (error feedback; Seide et al. 2014, Karimireddy
et al. 2019)::

    u_i = g_i + e_i,    gradient = mean_i C(u_i),    e_i <- u_i - C(u_i)

The residual belongs to a process: it is the error of what this process has sent. Summed over the
iterations, the mean of the gradients that came in is the mean of the gradients that went out plus
the mean of the residuals. This holds for gradients. An optimiser that divides them by their size,
such as Adam, need not move the parameters as far as it would without compression.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.futures import Future

from effebm_ext.distributed.messages import gathered, mean_of_rows
from effebm_ext.ops.block_sign import BlockSign
from effebm_ext.ops.checks import compute_dtype
from effebm_ext.ops.packing import Packed
from effebm_ext.ops.topk import TopK
from effebm_ext.shown import as_call

# No `from __future__ import annotations`: DistributedDataParallel compares the annotations of a
# hook with types.


class CompressionState:
    """Holds how gradients are compressed, and the residuals of this process.

    DistributedDataParallel makes other buckets after the first iteration. So residuals are kept by
    the names of the parameters, and the parameters of a bucket are compressed in the order of the
    module, whatever their order in the bucket is.

    If a mean of gradients is not finite, every process sees it, and the caller is expected to leave
    out the iteration, as :class:`effebm_ext.training.Trainer` does by raising an error. All
    residuals stay as they were before such an iteration.

    Attributes:
        process_group: the processes of the model; None: all.
        residuals: a tensor for every parameter, of its shape, float32 (float64 for float64), on
            its device, with elements in the order of the parameter's memory.
    """

    def __init__(self, module: nn.Module, process_group: dist.ProcessGroup | None = None) -> None:
        self.process_group = process_group
        trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self._numbers: dict[Tensor, int] = {p: i for i, (_, p) in enumerate(trained)}
        self._names = [name for name, _ in trained]
        self.residuals = {
            name: torch.zeros(p.shape, dtype=compute_dtype(p.dtype), device=p.device)
            for name, p in trained
        }
        # Of an iteration in which buckets are under way; threads of the back end append.
        self._new: dict[str, Tensor] = {}
        self._finite: list[bool] = []

    __repr__ = as_call

    def pack(self, u: Tensor) -> Packed:
        """Returns the compressed form of ``u`` ``(1, n)``, as it is sent. The shapes and dtypes of
        its tensors depend on n only."""
        raise NotImplementedError

    def compressed_mean(self, bucket: dist.GradBucket) -> Future[Tensor]:
        """Sends the compressed gradients of a bucket; its hook returns what this returns.

        Returns:
            The mean of what all processes have sent, of the shape and dtype of the bucket. It has
            the same bits in every process.

        Raises:
            KeyError: the bucket has a parameter that is not in the module of this state.
        """
        if bucket.index() == 0:
            self._settle()
        numbers = [self._numbers[p] for p in bucket.parameters()]
        by_number = sorted(zip(numbers, bucket.gradients(), strict=True))
        gradients = {self._names[number]: gradient for number, gradient in by_number}
        u = torch.cat([(g + self.residuals[name]).flatten() for name, g in gradients.items()])
        packed = self.pack(u[None])
        self._new |= _split(u - packed.unpack()[0], gradients)

        def mean(everyone: Future[Packed]) -> Tensor:
            result = mean_of_rows(everyone.value())
            self._finite.append(bool(result.isfinite().all()))
            for name, part in _split(result, gradients).items():
                gradients[name].copy_(part)
            return bucket.buffer()

        return gathered(packed, self.process_group).then(mean)

    def state_dict(self) -> dict[str, Any]:
        """Returns the residuals of this process, for a checkpoint. They are copied."""
        self._settle()
        return {"residuals": {name: e.clone() for name, e in self.residuals.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from where :meth:`state_dict` was taken.

        Raises:
            ValueError: the residuals belong to other parameters.
        """
        saved = state["residuals"]
        shapes, expected = _shapes(saved), _shapes(self.residuals)
        if shapes != expected:
            raise ValueError(f"residuals: expected the shapes {expected}, got {shapes}")
        self._new, self._finite = {}, []
        for name, residual in self.residuals.items():
            residual.copy_(saved[name])

    def _settle(self) -> None:
        """Keeps the new residuals of an iteration that has ended."""
        if all(self._finite):
            self.residuals |= self._new
        self._new, self._finite = {}, []


class TopKState(CompressionState):
    """The state of :func:`topk_hook`.

    Args:
        module: the module whose gradients are sent, without DistributedDataParallel.
        ratio: the fraction of the entries of a bucket that a process sends, ``0 < ratio <= 1``.
        process_group: the processes of the model; None: all.

    Raises:
        TypeError: ratio is not a number, or the dtype of a parameter is not a floating one.
        ValueError: ratio is outside (0, 1].
    """

    def __init__(
        self,
        module: nn.Module,
        ratio: float = 0.01,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__(module, process_group)
        self.compressor = TopK(ratio=ratio)
        self.ratio = self.compressor.ratio

    def pack(self, u: Tensor) -> Packed:
        """See :meth:`CompressionState.pack`: values and indices, 8 bytes for each kept entry of
        float32, or 6 in buckets of up to 2**15 entries."""
        return self.compressor.pack(self.compressor.compress(u))


class BlockSignState(CompressionState):
    """The state of :func:`block_sign_hook`.

    Args:
        module: the module whose gradients are sent, without DistributedDataParallel.
        block_size: entries of a bucket that share a scale, at least 1; blocks do not stop where
            parameters do.
        process_group: the processes of the model; None: all.

    Raises:
        TypeError: block_size is not an integer, or the dtype of a parameter is not a floating one.
        ValueError: block_size is below 1.
    """

    def __init__(
        self,
        module: nn.Module,
        block_size: int = 256,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__(module, process_group)
        self.compressor = BlockSign(block_size)
        self.block_size = self.compressor.block_size

    def pack(self, u: Tensor) -> Packed:
        """See :meth:`CompressionState.pack`: one bit for each entry and a scale for each block. An
        entry that is zero is sent as if it were positive, and the residual keeps the error."""
        return dataclasses.replace(self.compressor.pack(self.compressor.compress(u)), zeros=None)


def topk_hook(state: TopKState, bucket: dist.GradBucket) -> Future[Tensor]:
    """Sends the entries of largest magnitude of every bucket, with error feedback::

        ddp = DistributedDataParallel(energy)
        ddp.register_comm_hook(TopKState(energy, ratio=0.01), topk_hook)

    What it returns and raises is said at :meth:`CompressionState.compressed_mean`.
    """
    return state.compressed_mean(bucket)


def block_sign_hook(state: BlockSignState, bucket: dist.GradBucket) -> Future[Tensor]:
    """Sends the signs of every bucket and a scale for each block, with error feedback::

        ddp = DistributedDataParallel(energy)
        ddp.register_comm_hook(BlockSignState(energy, block_size=256), block_sign_hook)

    What it returns and raises is said at :meth:`CompressionState.compressed_mean`.
    """
    return state.compressed_mean(bucket)


def mean_residuals(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns a state for every process of another number of processes: the means of the residuals
    of ``states``, so that no gradient is lost or added.

    Args:
        states: what :meth:`CompressionState.state_dict` returned in each process, at least one.
    """
    every = [state["residuals"] for state in states]
    return {"residuals": {name: torch.stack([e[name] for e in every]).mean(0) for name in every[0]}}


def _split(flat: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns parts of a flat tensor by name, of the shapes of ``like``."""
    parts = flat.split([t.numel() for t in like.values()])
    return {n: part.view(t.shape) for (n, t), part in zip(like.items(), parts, strict=True)}


def _shapes(residuals: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(e.shape) for name, e in residuals.items()}
