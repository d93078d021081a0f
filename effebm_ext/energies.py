"""What is asked of an energy, whichever it is: values per chain, gradients, scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def class_energy(values: Tensor, y: Tensor | None = None) -> Tensor:
    """Energies ``(n,)`` from those of every class, ``values`` ``(n, n_classes)``.

    With labels ``y``, int64 ``(n,)``, ``E(x, y) = values[x, y]``. Without, the marginal energy
    ``-logsumexp_y(-E(x, y))``, whose density is the sum over the classes (JEM, Grathwohl et al.
    2020, with f = -E): a conditional energy is an unconditional one too. Training where data and
    chains have the same labels learns ``p(x | y)``; how the marginal weighs the classes against
    each other depends on their normalising constants, which such training leaves free.

    Raises:
        ValueError: y has another shape or dtype.
        IndexError, RuntimeError: a label is outside 0 to n_classes - 1.
    """
    if y is None:
        return -torch.logsumexp(-values, dim=1)
    if y.dtype != torch.int64 or y.shape != values.shape[:1]:
        raise ValueError(
            f"y: expected int64 labels of shape ({len(values)},), "
            f"got {y.dtype} of shape {tuple(y.shape)}"
        )
    return values.gather(1, y[:, None])[:, 0]


def energy_and_gradient(
    energy: Callable[..., Tensor], x: Tensor, energy_kwargs: Mapping[str, Any] | None = None
) -> tuple[Tensor, Tensor]:
    """Energies ``(n,)`` at ``x`` ``(n, *event)`` and their gradient with respect to x.

    Nothing is added to the ``grad`` of the energy's parameters, and neither result carries a graph.
    An energy may return ``(n,)`` or ``(n, 1)``; ``energy_kwargs``, such as labels, go to it.

    Raises:
        ValueError: the energy returns another shape.
        RuntimeError: the energy does not depend on x.
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaf = _for_autograd(x.detach()).requires_grad_()
        kwargs = {name: _for_autograd(value) for name, value in (energy_kwargs or {}).items()}
        values = per_chain(energy(leaf, **kwargs), x.shape[0])
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
    values = values.detach()
    return values.clone() if values._is_view() else values, gradient  # one of x would change with x


def score_of(energy: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The score ``-grad E`` of an energy, as a function of ``x`` ``(n, *event)`` and the energy's
    keyword arguments. It can be differentiated again, by x where that requires grad and by the
    parameters, unless it is called under ``torch.no_grad()``."""

    def score(x: Tensor, **energy_kwargs: Any) -> Tensor:
        differentiated = torch.is_grad_enabled()
        with torch.enable_grad():
            leaf = x if x.requires_grad else x.detach().requires_grad_()
            values = per_chain(energy(leaf, **energy_kwargs), len(leaf))
            (gradient,) = torch.autograd.grad(values.sum(), leaf, create_graph=differentiated)
        return -gradient

    return score


def _for_autograd(value: Any) -> Any:
    """Autograd cannot save tensors made in inference mode, but it can their copies."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def per_chain(values: Tensor, n_chains: int) -> Tensor:
    """Energies as ``(n_chains,)``, whether they came as that or as ``(n_chains, 1)``."""
    if values.shape not in ((n_chains,), (n_chains, 1)):
        raise ValueError(
            f"energy: expected one value per chain, shape ({n_chains},), "
            f"got shape {tuple(values.shape)}"
        )
    return values.reshape(n_chains)


def denoise(
    energy: Callable[..., Tensor],
    x: Tensor,
    noise_std: float,
    energy_kwargs: Mapping[str, Any] | None = None,
) -> Tensor:
    """``x - noise_std**2 * grad E(x)``: the mean of the clean data behind noisy samples ``x``.

    Exact if ``exp(-E)`` is the density of data plus Gaussian noise of ``noise_std`` (Tweedie's
    formula), which is what an energy trained with data noise approximates. ``energy_kwargs`` as in
    :func:`energy_and_gradient`.
    """
    return x - noise_std**2 * energy_and_gradient(energy, x, energy_kwargs)[1]
