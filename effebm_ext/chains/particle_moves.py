"""Moves of particles with the change of their energy (particle dynamics, arXiv 2111.13772).

Particles that are samples of ``exp(-E_old)`` become, to first order in the change, samples of
``exp(-E_new)`` if each goes along a field v with ``div(p v) = p (D - E_p[D])``,
``D = E_new - E_old``. The source takes ``v = -grad D``. A training loop may read::

    old = FrozenEnergy(energy)
    optimizer.step()
    move = alpha_move(x, old, energy)
    x += move.displacement  # or step_correction(move) * move.displacement
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from effebm_ext.energies import energies_at, energy_and_gradient, per_chain
from effebm_ext.ops.checks import compute_dtype, row_size


class FrozenEnergy:
    """Keeps an energy as it is now: a function of x and the energy's keyword arguments that uses
    copies of the present parameters and buffers, however the energy changes later.

    Buffers that an evaluation changes, such as the buffers of spectral normalisation in training
    mode, are copied for every call: all calls see the buffers of the moment of freezing.

    Args:
        energy: a module; only its parameters and buffers are frozen, not what else its forward
            reads.
    """

    def __init__(self, energy: nn.Module) -> None:
        self.energy = energy
        self.parameters: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        # Tied parameters are kept under all their names. Parameters of a module that is in several
        # places are kept under one: functional_call gives back the wrong tensor to a name that it
        # sets twice.
        for prefix, module in energy.named_modules():
            every = {"prefix": prefix, "recurse": False, "remove_duplicate": False}
            for name, parameter in module.named_parameters(**every):
                self.parameters[name] = parameter.detach().clone()
            for name, buffer in module.named_buffers(**every):
                self.buffers[name] = buffer.clone()

    def __call__(self, x: Tensor, **energy_kwargs: Any) -> Tensor:
        tensors = self.parameters | {name: b.clone() for name, b in self.buffers.items()}
        values: Tensor = torch.func.functional_call(
            self.energy, tensors, (x,), energy_kwargs, tie_weights=False
        )
        return values


class Move(NamedTuple):
    """A move of particles, without a graph.

    Attributes:
        displacement: the displacements of the particles, of x's shape and dtype: float32 or wider,
            as 16 bits would lose most of a small step.
        energy_change: ``D = E_new - E_old`` at x, ``(n,)``, float32 or wider.
    """

    displacement: Tensor
    energy_change: Tensor


def alpha_move(
    x: Tensor,
    old: Callable[..., Tensor],
    new: Callable[..., Tensor],
    energy_kwargs: Mapping[str, Any] | None = None,
) -> Move:
    """Returns the displacement ``grad_x [E_old(x) - E_new(x)]`` (alpha of arXiv 2111.13772).

    If a Gaussian of unit width is shifted, the displacement carries its samples exactly to the new
    place. :func:`step_correction` does the same for Gaussians of other widths.

    Args:
        x: particles ``(n, *event)``, samples of ``exp(-E_old)``; not written.
        old, new: energies, ``(n, *event)`` to ``(n,)`` or ``(n, 1)``, before and after.
        energy_kwargs: keyword arguments of both energies, such as labels.

    Raises:
        ValueError: an energy returns another shape.
    """
    old_energy, old_gradient = energy_and_gradient(old, x, energy_kwargs)
    new_energy, new_gradient = energy_and_gradient(new, x, energy_kwargs)
    return Move(old_gradient - new_gradient, _change(old_energy, new_energy))


def beta_move(
    x: Tensor,
    old: FrozenEnergy,
    new: nn.Module,
    energy_kwargs: Mapping[str, Any] | None = None,
) -> Move:
    """Returns the displacement ``-grad_x (dtheta . grad_theta E_new(x))`` (beta of arXiv
    2111.13772), where ``dtheta`` is what the optimiser really added to the parameters. It differs
    from :func:`alpha_move` in second order of ``dtheta``, and needs derivatives of second order.

    Args:
        x: particles ``(n, *event)``, samples of ``exp(-E_old)``; not written.
        old: the energy before.
        new: the same module after the optimiser's step.
        energy_kwargs: keyword arguments of both energies, such as labels.

    Raises:
        ValueError: the energy returns another shape.
    """
    parameters = {n: p for n, p in new.named_parameters() if p.requires_grad}
    increments = [p.detach() - old.parameters[n] for n, p in parameters.items()]
    kwargs = dict(energy_kwargs or {})
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        energy = per_chain(new(leaf, **kwargs), len(x))
        gradients = torch.autograd.grad(
            energy.sum(), list(parameters.values()), create_graph=True, materialize_grads=True
        )
        rates = [(g * d).sum() for g, d in zip(gradients, increments, strict=True)]
        (gradient,) = torch.autograd.grad(torch.stack(rates).sum(), leaf, materialize_grads=True)
    with torch.no_grad():
        old_energy = energies_at(old, x, kwargs)
    return Move(-gradient, _change(old_energy, energy.detach()))


def _change(old_energy: Tensor, new_energy: Tensor) -> Tensor:
    dtype = compute_dtype(old_energy.dtype)
    return new_energy.to(dtype) - old_energy.to(dtype)


def step_correction(move: Move, labels: Tensor | None = None) -> Tensor:
    """Returns ``c = Var(D) / E|grad D|^2`` over the particles, a scalar, for ``v = -c grad D``.

    The right field has ``E[v . grad phi] = -Cov(D, phi)`` for every function phi; with the factor c
    this holds for ``phi = D``. A shifted Gaussian of standard deviation s has ``c = s^2``, which
    makes the move exact for every s. If no particle is displaced, or no two particles share a
    class, c is 1.

    Args:
        move: the move of all particles.
        labels: int64 ``(n,)`` of a conditional energy. Its constants per class mean nothing, so
            the variance within the classes is used.
    """
    change = move.energy_change
    if labels is None:
        groups, rest = 1, change - change.mean()
    else:
        _, group = labels.unique(return_inverse=True)
        groups = int(group.max()) + 1
        sums = change.new_zeros(groups).index_add_(0, group, change)
        rest = change - (sums / group.bincount())[group]
    displacement = move.displacement
    squares = displacement.reshape(len(change), row_size(displacement)).to(change.dtype)
    squares = squares.square().sum(1)
    one = change.new_ones(())
    if len(change) == groups:
        return one
    c = rest.square().sum() / (len(change) - groups) / squares.mean()
    return torch.where(squares.any(), c, one)
