"""The virial tells in one number whether chains are samples of their energy."""

from __future__ import annotations

from torch import Tensor

from effebm_ext.evaluation.estimates import Estimate, error_of_mean
from effebm_ext.samplers.virial import virials


def virial(x: Tensor, gradient: Tensor, *, centre: Tensor | None = None) -> Estimate:
    """Returns the mean of ``(x - m) . grad E(x) / d`` over chains, with its standard error.

    By integration by parts it is 1 for samples of every density ``exp(-E)`` on the whole space that
    falls to zero fast enough, whatever the constant m is (the virial theorem; Stein's identity for
    the field x - m). At another temperature T it is T. For chains that are too wide it is above 1,
    as for chains with compressed gradients, and for chains that are too narrow below 1; on N(0, I)
    it is their variance. Densities that end at walls, as chains between bounds have, do not fall to
    zero there, and their virial is another.

    A constant m that is not E[x] adds the noise of ``(E[x] - m) . grad E / d``, so the chains' own
    mean is best, though no constant. As chain i has a share of 1/n in it, the mean of the products
    is then ``1 - 1/n`` for n independent chains, which the factor ``n / (n - 1)`` corrects.

    Args:
        x: ``(n, *event)``, independent chains.
        gradient: the gradient of the energy there, x's shape.
        centre: m, ``(*event)``; None: the mean of the chains, with the factor.

    Returns:
        The mean, and its standard error, infinite for a single chain.

    Raises:
        ValueError: gradient or centre has another shape; there is no chain, or only one and no
            centre.
    """
    least = 2 if centre is None else 1
    if x.dim() < 1 or len(x) < least:
        raise ValueError(f"x: expected shape (n, *event), n >= {least}, got {tuple(x.shape)}")
    n, factor = len(x), 1.0
    if centre is None:
        centre, factor = x.double().mean(0), n / (n - 1)
    products = factor * virials(x.double(), gradient, centre)
    return Estimate(float(products.mean()), error_of_mean(products))
