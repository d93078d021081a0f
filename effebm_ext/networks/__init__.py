"""Energy networks map tensors ``(n, *event)`` to energies ``(n,)``; low energy means likely.

Activations are smooth, so that the gradient that a sampler follows is continuous. The last layer
has no bias: a constant in the energy only changes the precision of differences.

With ``n_classes`` the read-out has one output per class, ``f(x)[y]``;
:func:`effebm_ext.energies.class_energy` says what the energy is with labels and without.
"""

from effebm_ext.networks.base import GaussianBase
from effebm_ext.networks.make import ENERGIES, make_energy
from effebm_ext.networks.plain import ConvEnergy, MLPEnergy
from effebm_ext.networks.resnet import ResNetEnergy
from effebm_ext.networks.unet import UNetEnergy

__all__ = [
    "ENERGIES",
    "ConvEnergy",
    "GaussianBase",
    "MLPEnergy",
    "ResNetEnergy",
    "UNetEnergy",
    "make_energy",
]
