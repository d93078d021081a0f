"""Energies as configurations describe them: networks of this library, and classes of one's own."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from effebm_ext.networks import ENERGIES, GaussianBase, make_energy
from effebm_ext.runs.did_you_mean import did_you_mean

OWN_FORM = "module:Class"


class OwnEnergyError(ValueError):
    """Raised if the class that the option ``energy`` names cannot be imported or used."""


def is_own(energy: str) -> bool:
    """Returns whether the option ``energy`` names a class of one's own, by ``module:Class``."""
    return energy not in ENERGIES


def check_energy(energy: str, width: int | None, depth: int | None) -> None:
    """Checks the options of the network without importing anything.

    Raises:
        ValueError: ``energy`` is neither the name of a network nor of the form ``module:Class``, or
            a class of one's own is given a width or a depth.
    """
    if not is_own(energy):
        return
    module, _, name = energy.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        known, meant = ", ".join(ENERGIES), did_you_mean(energy, ENERGIES)
        raise ValueError(f"energy: expected {known} or {OWN_FORM}, got {energy!r}{meant}")
    for option, value in (("width", width), ("depth", depth)):
        if value is not None:
            raise ValueError(
                f"{option}: expected none with energy {energy}, a class that chooses its own "
                f"sizes, got {value}"
            )


def energy_of(
    config: Any,
    event_shape: Sequence[int],
    n_classes: int | None = None,
    base: tuple[float, float] | None = None,
) -> nn.Module:
    """Makes the energy that a configuration describes.

    A class of one's own is imported, with the current directory on the import path, and called with
    ``event_shape``, a tuple, and in a conditional run with the keyword ``n_classes``. Only a
    subclass of ``nn.Module`` is ever called, as the name may come from a checkpoint.

    Args:
        config: options with ``energy``, ``width`` and ``depth``
            (:class:`effebm_ext.runs.options.common.CommonOptions`).
        event_shape: shape of one sample, without the batch axis.
        n_classes: number of classes of the labels that the energy takes; None: it takes none.
        base: mean and standard deviation of a :class:`effebm_ext.networks.GaussianBase`; None:
            there is no base.

    Raises:
        OwnEnergyError: the class cannot be imported or called, is no subclass of ``nn.Module``, or
            has no parameters.
        ValueError: the network does not fit the events.
    """
    if not is_own(config.energy):
        try:
            return make_energy(
                config.energy, event_shape, n_classes, base, width=config.width, depth=config.depth
            )
        except ValueError as error:
            raise ValueError(
                "energy: expected a network that takes the data, such as mlp, got "
                f"{config.energy!r}: {error}"
            ) from error
    labels = {} if n_classes is None else {"n_classes": n_classes}
    net = _own(config.energy, tuple(int(n) for n in event_shape), labels)
    return net if base is None else GaussianBase(net, *base)


def load_parameters(energy: nn.Module, state: dict[str, Any], config: Any) -> None:
    """Loads the parameters of a checkpoint into the energy that :func:`energy_of` made.

    Raises:
        OwnEnergyError: the class of one's own has other parameters now.
        RuntimeError: as ``nn.Module.load_state_dict``, for the networks of this library.
    """
    try:
        energy.load_state_dict(state)
    except RuntimeError as error:
        if not is_own(config.energy):
            raise
        lines = " ".join(str(error).split())
        raise OwnEnergyError(
            f"energy: expected {config.energy!r} with the parameters that were trained: {lines}"
        ) from error


def _own(text: str, event_shape: tuple[int, ...], labels: dict[str, int]) -> nn.Module:
    """Imports and calls a class; whatever is raised there becomes an error of the option."""
    module_name, _, name = text.partition(":")
    with _current_directory_on_the_import_path():
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            raise OwnEnergyError(
                f"energy: expected {OWN_FORM} that can be imported, whenever a run is trained, "
                f"resumed or loaded, got {text!r}: {_in_words(error)}"
            ) from error
        kind = getattr(module, name, None)
        if kind is None:
            raise OwnEnergyError(
                f"energy: expected a class of the module {module_name}, got {text!r}: there is no "
                f"{name} in {getattr(module, '__file__', None) or module_name}"
            )
        if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            raise OwnEnergyError(
                f"energy: expected a subclass of torch.nn.Module, got {text!r}, which is {kind!r}"
            )
        try:
            energy: Any = kind(event_shape, **labels)
        except Exception as error:
            call = ", ".join([str(event_shape), *(f"{k}={v}" for k, v in labels.items())])
            raise OwnEnergyError(
                f"energy: expected a class that can be called as {name}({call}), got {text!r}: "
                f"{_in_words(error)}"
            ) from error
    if not isinstance(energy, nn.Module):  # __new__ may return anything
        raise OwnEnergyError(
            f"energy: expected {text!r} to return a torch.nn.Module, got {type(energy).__name__}"
        )
    if next(energy.parameters(), None) is None:
        raise OwnEnergyError(f"energy: expected parameters to train, {text!r} has none")
    return energy


@contextlib.contextmanager
def _current_directory_on_the_import_path() -> Iterator[None]:
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")


def _in_words(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
