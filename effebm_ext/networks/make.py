"""Networks by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from effebm_ext.networks.base import GaussianBase
from effebm_ext.networks.plain import ConvEnergy, MLPEnergy
from effebm_ext.networks.resnet import ResNetEnergy
from effebm_ext.networks.unet import UNetEnergy


def make_energy(
    kind: str,
    event_shape: Sequence[int],
    n_classes: int | None = None,
    base: tuple[float, float] | None = None,
    *,
    width: int | None = None,
    depth: int | None = None,
) -> nn.Module:
    """Makes an energy of a kind: ``mlp``, ``conv``, ``resnet``, ``unet``, or ``auto``, which is
    conv for images of at least 8 x 8 pixels and else mlp.

    Args:
        kind: one of these names.
        event_shape: shape of one sample, without the batch axis.
        n_classes: number of classes of the labels that the energy takes; None: it takes none.
        base: mean and standard deviation of a :class:`GaussianBase`; None: there is no base.
        width: the argument ``width`` of the network, at least 1; None: the network's own default.
        depth: ``depth`` of mlp, ``max_halvings`` of conv or ``blocks`` of resnet and unet, at least
            1; None: the network's own default.

    Raises:
        ValueError: kind is none of these, conv, resnet or unet is asked for what is not an image or
            unet for an image with a side below 2 pixels, or width or depth is below 1.
    """
    if kind == "auto":
        is_image = len(event_shape) == 3 and min(event_shape[1:]) >= 8
        kind = "conv" if is_image else "mlp"
    if kind not in _NETWORKS:
        raise ValueError(f"energy: expected {', '.join(ENERGIES)}, got {kind!r}")
    network, depth_name = _NETWORKS[kind]
    sizes = {}
    for name, argument, value in (("width", "width", width), ("depth", depth_name, depth)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
        if value is not None:
            sizes[argument] = value
    net = network(event_shape, n_classes=n_classes, **sizes)
    return net if base is None else GaussianBase(net, *base)


# Every network with the name of the argument that is its depth.
_NETWORKS: dict[str, tuple[Callable[..., nn.Module], str]] = {
    "mlp": (MLPEnergy, "depth"),
    "conv": (ConvEnergy, "max_halvings"),
    "resnet": (ResNetEnergy, "blocks"),
    "unet": (UNetEnergy, "blocks"),
}
ENERGIES = ("auto", *_NETWORKS)
