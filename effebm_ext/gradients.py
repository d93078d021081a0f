"""Energies and gradients as a sampler asks for them: compiled, or by a shorter arithmetic."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from effebm_ext.calls import WithoutGraph, for_autograd
from effebm_ext.energies import energy_and_gradient, per_chain
from effebm_ext.warn import warn

_SHORTER = (torch.bfloat16, torch.float16)


class EnergyGradient:
    """Evaluates an energy and its gradient with respect to x.

    Args:
        energy: maps ``(n, *event)`` to ``(n,)`` or ``(n, 1)``.
        compile: make energy and gradient one graph by torch.compile. The graph asks for no gradient
            of a parameter, and keeps no activation longer than it is needed. The first call, and
            the first calls with other shapes, take seconds. If the energy cannot be compiled, a
            warning says so once, and it is evaluated without.
        dtype: bfloat16 or float16: run the energy under ``torch.autocast`` with this dtype, so that
            energies and gradients have its precision. None: leave the arithmetic as it is.
        exact_energies: evaluate the energies once more without autocast, for steps whose ratio
            needs them. (Such steps stay exact with any gradient.)

    Raises:
        TypeError: dtype is no dtype, or compile no bool.
        ValueError: dtype is another one.
    """

    def __init__(
        self,
        energy: Callable[..., Tensor],
        *,
        compile: bool,
        dtype: torch.dtype | None,
        exact_energies: bool = False,
    ) -> None:
        if not isinstance(compile, bool):
            raise TypeError(f"compile: expected True or False, got {compile!r}")
        if not isinstance(dtype, torch.dtype | None):
            raise TypeError(f"gradient_dtype: expected a torch.dtype or None, got {dtype!r}")
        if dtype is not None and dtype not in _SHORTER:
            raise ValueError(
                f"gradient_dtype: expected torch.bfloat16, torch.float16 or None, got {dtype}"
            )
        self.energy, self.dtype = energy, dtype
        self._exact_energies = exact_energies and dtype is not None
        self._without_graph, self._seen = WithoutGraph(), False
        self._compiled: Callable[..., tuple[Tensor, Tensor]] | None = None
        if compile:
            self._compiled = _compiled()

    @property
    def taken(self) -> str:
        """How the last call was evaluated, in words."""
        way = "eager" if self._compiled is None else "compiled"
        return way if self.dtype is None else f"{way}, {str(self.dtype).removeprefix('torch.')}"

    def __call__(
        self, x: Tensor, energy_kwargs: Mapping[str, Any] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns energies ``(n,)`` at ``x`` ``(n, *event)`` and their gradient, of x's shape and
        dtype; it does and raises what :func:`effebm_ext.energies.energy_and_gradient` does."""
        if self._compiled is None:
            return self._eagerly(x, energy_kwargs)
        if not self._seen:  # a graph would give a constant energy a gradient of zero
            self._eagerly(x, energy_kwargs)  # raises the errors of the energy
            self._seen = True
        try:
            return self._by_graph(x, energy_kwargs)
        except Exception as error:  # dynamo and inductor raise dozens of kinds
            result = self._eagerly(x, energy_kwargs)
            if self._compiled is not None:  # another thread may have met the same error
                self._compiled = None
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                warn(f"compile: the energy is evaluated without, as it was not compiled: {reason}")
            return result

    def __getstate__(self) -> dict[str, Any]:
        # A compiled function can be neither copied nor pickled; the copy compiles its own.
        return {**self.__dict__, "_compiled": self._compiled is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._compiled = _compiled() if state["_compiled"] else None

    def _by_graph(
        self, x: Tensor, energy_kwargs: Mapping[str, Any] | None
    ) -> tuple[Tensor, Tensor]:
        compiled = self._compiled
        assert compiled is not None
        with torch.inference_mode(False), torch.no_grad():
            kwargs = {name: for_autograd(value) for name, value in (energy_kwargs or {}).items()}
            return compiled(self, for_autograd(x.detach()), kwargs)

    def _eagerly(self, x: Tensor, energy_kwargs: Mapping[str, Any] | None) -> tuple[Tensor, Tensor]:
        energies, gradient = energy_and_gradient(self.values, x, energy_kwargs)
        if self._exact_energies:
            energies = per_chain(self._without_graph(self.energy, x, energy_kwargs), len(x))
        return energies, gradient

    def values(self, x: Tensor, **energy_kwargs: Any) -> Tensor:
        """Returns the energies, in the shorter arithmetic if one is asked for."""
        if self.dtype is None:
            return self.energy(x, **energy_kwargs)
        with torch.autocast(x.device.type, dtype=self.dtype):
            return self.energy(x, **energy_kwargs)


def _both(of: EnergyGradient, x: Tensor, energy_kwargs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Returns energies and gradient, for torch.compile."""

    def total(at: Tensor) -> tuple[Tensor, Tensor]:
        values = per_chain(of.values(at, **energy_kwargs), len(at))
        return values.sum(), values

    gradient, values = torch.func.grad(total, has_aux=True)(x)
    if of._exact_energies:
        values = per_chain(of.energy(x, **energy_kwargs), len(x))
    return values, gradient.contiguous()


def _compiled() -> Callable[..., tuple[Tensor, Tensor]]:
    """Compiles :func:`_both` for one energy. torch keeps only a few graphs of the same code, so
    every energy has its own copy of the code."""
    code = _both.__code__.replace()
    own = types.FunctionType(code, globals(), _both.__name__, closure=_both.__closure__)
    return torch.compile(own, fullgraph=True)
