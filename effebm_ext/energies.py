"""Functions of any energy: values per chain, gradients, scores."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from effebm_ext.calls import as_leaf, evaluated
from effebm_ext.shown import short
from effebm_ext.train_mode import warn_if_rows_are_coupled
from effebm_ext.transforms import check_outside_torch_func
from effebm_ext.warn import warn

_LARGEST_ROUNDING = 0.1  # nats


class NonFiniteError(RuntimeError):
    """Raised if an energy, a state, a loss or a gradient is not finite and the caller asked to stop
    then; a training run always asks for this."""


def class_energy(values: Tensor, y: Tensor | None = None) -> Tensor:
    """Returns energies ``(n,)`` from the energies of every class, ``values`` ``(n, n_classes)``.

    With labels ``y``, int64 ``(n,)``, it returns ``E(x, y) = values[x, y]``. Without labels it
    returns the marginal energy ``-logsumexp_y(-E(x, y))``, whose density is the sum over the
    classes (JEM, Grathwohl et al. 2020, with f = -E): a conditional energy is an unconditional
    energy too. Training in which data and chains have the same labels learns ``p(x | y)``; the
    weights of the classes in the marginal depend on their normalising constants, which such
    training leaves free.

    Raises:
        ValueError: y has another shape or dtype.
        RuntimeError: a label is outside 0 to n_classes - 1.
    """
    if y is None:
        return -torch.logsumexp(-values, dim=1)
    if y.dtype != torch.int64 or y.shape != values.shape[:1]:
        raise ValueError(
            f"y: expected int64 labels of shape ({len(values)},), "
            f"got {y.dtype} of shape {tuple(y.shape)}"
        )
    try:
        return values.gather(1, y[:, None])[:, 0]
    except RuntimeError as error:  # on a GPU PyTorch raises its own error, later
        raise RuntimeError(
            f"y: expected labels 0 to {values.shape[1] - 1}, got some out of bounds: the least is "
            f"{int(y.min())}, the largest {int(y.max())}"
        ) from error


def energy_and_gradient(
    energy: Callable[..., Tensor], x: Tensor, energy_kwargs: Mapping[str, Any] | None = None
) -> tuple[Tensor, Tensor]:
    """Returns energies ``(n,)`` at ``x`` ``(n, *event)`` and their gradient with respect to x.

    Nothing is added to the ``grad`` of the energy's parameters, and neither result carries a graph.
    An energy may return ``(n,)`` or ``(n, 1)``; it gets ``energy_kwargs``, such as labels.

    Raises:
        TypeError: the energy returns no floating-point tensor.
        ValueError: the energy returns another shape.
        RuntimeError: the energy does not depend on x; or a transform of torch.func is on.
    """
    check_outside_torch_func("energy_and_gradient")
    with torch.inference_mode(False), torch.enable_grad():
        leaf, kwargs = as_leaf(x, energy_kwargs)
        values = per_chain(energy(leaf, **kwargs), x.shape[0])
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
    values = values.detach()
    return values.clone() if values._is_view() else values, gradient  # a view of x changes with x


def frozen(function: object) -> contextlib.AbstractContextManager[None]:
    """Makes the parameters of a module ask for no gradient inside the block, so that the gradient
    with respect to x keeps fewer activations and takes less time.

    Functions that are not modules stay as they are. The same parameters must not be trained on
    another thread meanwhile. Blocks may be nested, and graphs that were built before can be
    differentiated after the block.

    Samplers and AIS move all chains in such blocks, so this is where a warning tells of a module in
    training mode whose chains depend on one another.
    """
    warn_if_rows_are_coupled(function)
    return _frozen(function)


@contextlib.contextmanager
def _frozen(function: object) -> Iterator[None]:
    held: list[nn.Parameter] = []
    if isinstance(function, nn.Module):
        held = [p for p in function.parameters() if p.requires_grad and p.is_leaf]
    try:
        for parameter in held:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_()


@dataclasses.dataclass(frozen=True)
class _ScoreOf:
    energy: Callable[..., Tensor]

    def __repr__(self) -> str:
        return f"score_of({short(self.energy)})"

    def __call__(self, x: Tensor, **energy_kwargs: Any) -> Tensor:
        check_outside_torch_func("score_of")
        differentiated = torch.is_grad_enabled()
        with torch.enable_grad():
            leaf = x if x.requires_grad else x.view_as(x).requires_grad_()  # keeps a tangent
            values = per_chain(self.energy(leaf, **energy_kwargs), len(leaf))
            (gradient,) = torch.autograd.grad(values.sum(), leaf, create_graph=differentiated)
        return -gradient


def score_of(energy: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Returns the score ``-grad E`` of an energy, as a function of ``x`` ``(n, *event)`` and the
    energy's keyword arguments. The score can be differentiated again, with respect to x if it
    requires grad and with respect to the parameters, unless it is called under
    ``torch.no_grad()``. It raises RuntimeError inside the transforms of torch.func."""
    return _ScoreOf(energy)


def energies_at(
    energy: Callable[..., Tensor], x: Tensor, energy_kwargs: Mapping[str, Any] | None = None
) -> Tensor:
    """Returns energies ``(n,)`` at ``x`` ``(n, *event)``, with a graph of the parameters unless
    grad mode is off. The energy may use autograd for itself.

    Raises:
        TypeError, ValueError: as :func:`per_chain`.
    """
    return per_chain(evaluated(energy, x, **(energy_kwargs or {})), len(x))


def per_chain(values: Tensor, n_chains: int) -> Tensor:
    """Returns energies as ``(n_chains,)``, also if they came as ``(n_chains, 1)``.

    Raises:
        TypeError: they are not a floating-point tensor.
        ValueError: they have another shape.
    """
    check_floating(values, "energy")
    if values.shape not in ((n_chains,), (n_chains, 1)):
        raise ValueError(
            f"energy: expected one value per chain, shape ({n_chains},), "
            f"got shape {tuple(values.shape)}"
        )
    return values.reshape(n_chains)


def check_floating(values: Any, name: str) -> None:
    """Raises unless a network has returned a floating-point tensor."""
    if not isinstance(values, Tensor) or not values.is_floating_point():
        kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"{name}: expected a floating-point tensor, got {kind}")


def like_state(score: Tensor, x: Tensor) -> Tensor:
    """Returns a score at ``x`` in x's dtype, as networks under autocast give shorter numbers.

    Raises:
        TypeError: the score is not a floating-point tensor.
        ValueError: the score has another shape than x.
    """
    check_floating(score, "score")
    if score.shape != x.shape:
        raise ValueError(
            f"score: expected the shape of x, {tuple(x.shape)}, got {tuple(score.shape)}"
        )
    return score.to(x.dtype)


def warn_if_rounded(energies: Tensor, result: str) -> bool:
    """Warns if rounding hides differences of energies that matter: if the step between neighbouring
    numbers of the energies' dtype is above 0.1 nats. Waits for a GPU.

    Args:
        energies: energies as returned, of any shape; their median magnitude counts.
        result: says in words what is wrong then.

    Returns:
        Whether it warned.
    """
    energies, unit = energies.detach(), torch.finfo(energies.dtype).eps
    # Half of all are as large as the median, which the norm therefore bounds; it takes less time.
    most = float(torch.linalg.vector_norm(energies)) * math.sqrt(2 / max(1, energies.numel()))
    if unit * most <= _LARGEST_ROUNDING:
        return False
    size = float(energies.abs().nanmedian())
    rounding = unit * size
    if not _LARGEST_ROUNDING < rounding < math.inf:
        return False
    warn(
        f"energy: values of magnitude {size:.3g} in {energies.dtype} are rounded to about "
        f"{rounding:.2g} nats, and differences between them decide: {result}. Compute the "
        "energy in a wider dtype (outside autocast), or take a constant off it."
    )
    return True


def denoise(
    energy: Callable[..., Tensor],
    x: Tensor,
    noise_std: float,
    energy_kwargs: Mapping[str, Any] | None = None,
) -> Tensor:
    """Returns ``x - noise_std**2 * grad E(x)``: the mean of the clean data behind noisy samples
    ``x``.

    This is exact if ``exp(-E)`` is the density of data plus Gaussian noise of ``noise_std``
    (Tweedie's formula), which an energy trained with data noise approximates. ``energy_kwargs``
    go to the energy, as in :func:`energy_and_gradient`. Without noise it is ``x``.
    """
    if noise_std == 0:
        return x.clone()
    return x - noise_std**2 * energy_and_gradient(energy, x, energy_kwargs)[1]
