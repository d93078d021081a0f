"""A device under test for machines without a GPU: it copies and refuses as a GPU does."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped
from torch._ops import OpOverload, OpOverloadPacket
from torch.overrides import TorchFunctionMode

# No machine has as many: what the library keeps for this device is never taken for a GPU's.
DEVICE = torch.device("cuda", 100)
_HOST = torch.device("cpu")

_ANSWERS = {
    Tensor.device.__get__: DEVICE,
    Tensor.get_device: DEVICE.index,
    Tensor.is_cuda.__get__: True,
    Tensor.is_cpu.__get__: False,
}
# These take tensors of two devices; the second ones do where the first tensor is on the GPU.
_ACROSS = {
    Tensor.to,
    Tensor.type_as,
    Tensor.copy_,
    Tensor.data.__set__,
    torch._has_compatible_shallow_copy_type,
}
_INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
# A CPU tensor without axes is a number to most functions of tensors on a GPU, but not to these.
_STRICT = {torch.equal, Tensor.equal, torch.cat, torch.stack}


class StandIn(TorchFunctionMode):
    """While this mode is on, ``"cuda"`` is a device whose tensors lie in the host's memory and
    behave as those on a GPU:

    * a tensor gets there, and back, only as a copy;
    * what is computed from its tensors, or made with ``device="cuda"``, lies there;
    * functions that are given its tensors refuse CPU tensors (but for numbers without axes, and
      indices) and generators of the CPU; NumPy refuses its tensors;
    * they answer ``.device``, ``.is_cuda`` and ``.is_cpu`` as tensors on a GPU do.

    The ops of this library run the kernels that are in use for CPU tensors. They refuse tensors
    that a test has left on the CPU, where they would not test the device.

    Tracers cannot look through the mode: a compiled function and ``opcheck`` are a single function
    to it, and inside them the tensors are CPU tensors. The same holds for a backward pass.
    """

    used = False  # whether a tensor has been there

    def __enter__(self):
        self._patch = patch = pytest.MonkeyPatch()
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        patch.setattr(torch, "Generator", _Generator)
        patch.setattr(torch, "compile", functools.partial(self._compile, torch.compile))
        patch.setattr(torch.library, "opcheck", self._as_one(torch.library.opcheck))
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._patch.undo()

    def _compile(self, real, function, **options):
        return self._as_one(real(function, **options))

    def _as_one(self, function):
        """The function, run without the mode, with arguments and results as for one of torch's."""

        def run(*args, **kwargs):
            super(StandIn, self).__exit__(None, None, None)
            try:
                assert any(map(_is_there, _tensors([args, kwargs]))), "no argument is on the device"
                return self.__torch_function__(function, (), args, kwargs)
            finally:
                super(StandIn, self).__enter__()

        return run

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = _tensors([*args, *kwargs.values()])
        there = [t for t in tensors if _is_there(t)]
        if there and func in _ANSWERS:
            return _ANSWERS[func]
        if there and func in (Tensor.numpy, Tensor.__array__):
            raise TypeError(f"can't convert a tensor on {DEVICE} to NumPy: move it with .cpu()")
        if func is Tensor.pin_memory:  # which torch refuses without a GPU
            func = Tensor.clone
        place = _place(func, args, kwargs)
        if there or isinstance(func, (OpOverload, OpOverloadPacket)):
            _check_devices(func, args, tensors, bool(there))
        target = bool(there) if place is None else _is_there(place)
        generator = kwargs.get("generator")
        if generator is not None and _is_there(generator) != target:
            raise RuntimeError(f"{func}: expected a generator of the device of the tensor")
        if target and isinstance(place, (str, torch.device)):
            args = [_HOST if a is place else a for a in args]
            kwargs = {name: _HOST if a is place else a for name, a in kwargs.items()}
            func = Tensor.cpu if func is Tensor.cuda else func
        result = func(*args, **kwargs)
        return self._placed(result, tensors, target) if there or target else result

    def _placed(self, result, tensors, target):
        """The result of a call, marked or as a copy where its memory is on the other side."""
        if not isinstance(result, Tensor):
            for part in _tensors([result]):
                self._placed(part, tensors, target)
            return result
        if _is_there(result) != target and any(_storage(result) is _storage(t) for t in tensors):
            result = result.clone()
        if target:
            _storage(result).is_there = self.used = True
        return result


class _AnyGenerator(type(torch.Generator)):
    """Makes every generator an instance, also those that were made without the mode."""

    def __instancecheck__(cls, instance):
        return isinstance(instance, cls.__base__)


class _Generator(torch.Generator, metaclass=_AnyGenerator):
    def __new__(cls, device="cpu"):
        made = super().__new__(cls)
        made.is_there = _is_there(device)
        return made

    @property
    def device(self):
        return DEVICE if self.is_there else _HOST


def _place(func, args, kwargs):
    """Where a call says that its results are to lie: on a device, or with a tensor; or None."""
    if func is Tensor.cpu or func is Tensor.cuda:
        return _HOST if func is Tensor.cpu else DEVICE
    if func is Tensor.copy_:
        return args[0]
    if (
        func in (Tensor.to, Tensor.type_as)
        and len(args) > 1
        and not isinstance(args[1], torch.dtype)
    ):
        return args[1]
    return kwargs.get("device")


def _check_devices(func, args, tensors, there):
    here = [t for t in tensors if not (t.is_meta or _is_there(t))]
    ours = isinstance(func, (OpOverload, OpOverloadPacket)) and str(func).startswith("effebm.")
    if ours and here:
        raise RuntimeError(f"{func}: a test of the device has left a tensor on the CPU")
    if not there or func in _ACROSS or (func in _INDEXING and _is_there(args[0])):
        return
    if any(t.dim() > 0 or func in _STRICT for t in here):
        raise RuntimeError(f"{func}: expected all tensors on {DEVICE}, got one on cpu")


def _tensors(values):
    """The tensors among values and in what holds them."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
        elif isinstance(value, dict):
            found += _tensors(value.values())
    return found


def _is_there(value):
    """Whether a tensor or a generator is there, or a device is that one."""
    if isinstance(value, Tensor):
        return getattr(_storage(value), "is_there", False)
    if isinstance(value, (str, torch.device)):
        return torch.device(value).type == "cuda"
    return getattr(value, "is_there", False)


def _storage(tensor):
    """The memory of a tensor, one object for all its views, also below functions like vmap."""
    try:
        return tensor.untyped_storage()
    except NotImplementedError:
        return _storage(get_unwrapped(tensor))
