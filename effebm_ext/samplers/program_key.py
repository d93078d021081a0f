"""What a captured program depends on, besides the values of tensors."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, nn

from effebm_ext.samplers.langevin_steps import LangevinSteps
from effebm_ext.samplers.state import LangevinState


def reads_step_size(sampler: LangevinSteps, state: LangevinState) -> bool:
    """Says whether the graph reads the step size where the caller has it."""
    step_size = sampler.step_size
    return isinstance(step_size, Tensor) and step_size.device == state.x.device


def program_key(sampler: LangevinSteps, state: LangevinState) -> Hashable:
    """Returns what names the program of a sampler for chains."""
    options, place = options_of(sampler), state.x.device.type
    if not reads_step_size(sampler, state):
        options.update(step_size=None, temperature=None)  # numbers on the device
    return (
        *((name, _name_of(value)) for name, value in options.items()),
        *((name, _argument(value, state.x)) for name, value in state.energy_kwargs.items()),
        *(_layout(value) for value in (state.x, state.residual, state.start)),
        state.key.first_chain,
        *_memory(modules_of(sampler)),
        torch.is_autocast_enabled(place),
        torch.get_autocast_dtype(place),
    )


def options_of(sampler: LangevinSteps) -> dict[str, Any]:
    """Returns the options of a sampler, with the functions that it calls."""
    return {n: v for n, v in vars(sampler).items() if n[0] != "_" and n != "captured"}


def _argument(value: Any, x: Tensor) -> Hashable:
    """Returns what a graph keeps of a keyword argument of the energy."""
    if isinstance(value, Tensor) and value.device != x.device:  # read by the host, as a number is
        return _layout(value), *value.flatten().tolist()
    return _layout(value)


def _layout(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return value.shape, value.dtype, value.device, value.stride()
    return _name_of(value)


def _name_of(value: Any) -> Hashable:
    """Returns what a graph must not outlive: an address, a number, an object."""
    if isinstance(value, Tensor):
        return value.data_ptr(), _layout(value)
    if isinstance(value, (bool, int, float, str)):
        return type(value), value
    return id(value)


def _memory(modules: list[nn.Module]) -> list[Hashable]:
    """Returns where the tensors of modules lie, and which modules are in training."""
    found: list[Hashable] = []
    for module in modules:
        found += [(t.data_ptr(), t.dtype) for t in (*module.parameters(), *module.buffers())]
        found += [part.training for part in module.modules()]
    return found


def modules_of(sampler: LangevinSteps) -> list[nn.Module]:
    """Returns the modules of what a sampler calls: its energy or score and its compressor."""
    functions = (sampler.energy, sampler.score, sampler.compressor)
    return [module for function in functions for module in _modules(function)]


def _modules(function: object) -> list[nn.Module]:
    """Returns a module itself; or the modules that a function names, that a partial function binds
    or that an object has as attributes."""
    if isinstance(function, nn.Module):
        return [function]
    if isinstance(function, functools.partial):
        parts = (function.func, *function.args, *function.keywords.values())
        return [module for part in parts for module in _modules(part)]
    if inspect.ismethod(function):
        return _modules(function.__self__)
    if inspect.isfunction(function):
        names = inspect.getclosurevars(function)
        held = [*names.nonlocals.values(), *names.globals.values()]
    else:
        held = list(getattr(function, "__dict__", {}).values())
    return [value for value in held if isinstance(value, nn.Module)]
