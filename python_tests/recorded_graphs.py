"""A stand-in for the capture of CUDA graphs: it records calls of torch's functions, not of Python.

As a capture it changes no tensor and refuses what waits for a device or reads the host's memory. A
replay makes the same calls again, with the same tensors and numbers, and writes the results of the
record where they are. So Python that a graph would not run again is not run here either.
"""

from __future__ import annotations

import pytest
import stand_in
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

aten = torch.ops.aten
_REFUSED = "operation not permitted when stream is capturing"
# These give Python a number, or a tensor whose shape depends on numbers.
_WAITS = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.repeat_interleave.Tensor,
    aten._unique2.default,
}


class Graphs:
    """Takes the place of :class:`effebm_ext.samplers.cuda_graphs.Graphs` for the stand-in for a
    GPU."""

    def __init__(self, device):
        assert device == stand_in.DEVICE

    def warm_up(self, function):
        for _ in range(3):
            function()

    def record(self, function):
        tape = _Tape()
        with pytest.MonkeyPatch.context() as patch, tape:
            patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
            results = function()
        tape.undo()
        return tape.replay, results


class _Tape(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self._calls = []  # function, arguments, results that a replay writes
        self._before = {}  # memory that was written, by its address, with what it held
        self._made = {}  # memory that was made

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _WAITS:
            raise RuntimeError(f"{func}: {_REFUSED}")
        given = stand_in._tensors([*args, *kwargs.values()])
        for t in given:
            here = not (t.dim() == 0 or _address(t) in self._made or stand_in._is_there(t))
            if here and t.numel() > 0:
                raise RuntimeError(f"{func}: {_REFUSED}: a tensor is on the host")
        with torch._C.DisableTorchFunction():
            args, kwargs = tree_map(self._baked, (args, kwargs))
            writes = [a for a in func._schema.arguments if a.alias_info and a.alias_info.is_write]
            for argument in writes:
                self._keep(_of(argument, func, args, kwargs))
            results = func(*args, **kwargs)
        known = {_address(t) for t in given}
        new = [t for t in stand_in._tensors([results]) if _address(t) not in known]
        self._made.update((_address(t), t) for t in new)
        if writes or new:  # all others are views
            self._calls.append((func, args, kwargs, results, new))
        return results

    def _baked(self, value):
        """A number of the host as a graph keeps it, also if it comes as a tensor."""
        if not isinstance(value, Tensor) or value.dim() > 0 or _address(value) in self._made:
            return value
        return value if stand_in._is_there(value) else value.clone()

    def _keep(self, written):
        if isinstance(written, Tensor) and _address(written) not in self._before:
            memory = torch.empty(0, dtype=torch.uint8).set_(written.untyped_storage())
            self._before[_address(written)] = memory, memory.clone()

    def undo(self):
        """Leaves all tensors as they were."""
        for memory, before in self._before.values():
            memory.copy_(before)

    def replay(self):
        with torch._C.DisableTorchFunction(), torch.no_grad():
            for func, args, kwargs, results, new in self._calls:
                again = stand_in._tensors([func(*args, **kwargs)])
                for was, now in zip(stand_in._tensors([results]), again, strict=True):
                    if any(was is t for t in new):
                        was.copy_(now)


def _of(argument, func, args, kwargs):
    """The value of an argument of a schema."""
    names = [a.name for a in func._schema.arguments]
    position = names.index(argument.name)
    return args[position] if position < len(args) else kwargs.get(argument.name)


def _address(t):
    return t.untyped_storage().data_ptr()
