"""perturbed_pair: the two perturbed batches of finite-difference score matching."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from effebm_ext.ops.checks import (
    chain_scalar,
    check_not_differentiated,
    check_state,
    compute_dtype,
    row_size,
)
from effebm_ext.ops.vmap import rule_by_folding
from effebm_ext.reference import canonical_sum, fma, normals, sqrt
from effebm_ext.rng import Rng, key_arguments

_PERTURBED_PAIR = torch.ops.effebm.perturbed_pair.default
_DIRECTIONS = 4  # the purpose of their normals (docs/numerics.md)


class PerturbedPair(NamedTuple):
    """Two points on either side of each noisy x, ``2 * radius`` apart in a random direction v.

    Attributes:
        x: ``(2, n_chains, *event)`` of the state's dtype: ``x + noise_std * xi + v``, then
            ``x + noise_std * xi - v``. ``x.flatten(0, 1)`` is the batch an energy takes.
        noise_dot: ``(n_chains,)``, float32 (float64 for float64 states): the sum over the row of
            ``v * (noise_std * xi)``, 0 where noise_std is 0.
    """

    x: Tensor
    noise_dot: Tensor


def perturbed_pair(
    x: Tensor,
    radius: float | Tensor,
    *,
    noise_std: float | Tensor = 0.0,
    rng: Rng = None,
) -> PerturbedPair:
    """The points that finite-difference score matching differs between, in one pass over memory::

        v = radius * g / |g|
        x + noise_std * xi + v,  x + noise_std * xi - v

    with standard normals g and xi, and the norm over the whole flattened row, so that v is uniform
    on the sphere and ``E[v v^T] = radius**2 / d * I``. What is perturbed and how is that of FD-SSM
    (``noise_std=0``) and FD-DSM of arXiv 2007.03317; the noise is generated as it is added and
    never stored. ``noise_dot`` is what FD-DSM needs of it.

    Args:
        x: float32, float64, bfloat16 or float16 ``(n_chains, *event)``, of any strides.
        radius: length of v, >= 0; a number, or a tensor ``()`` or ``(n_chains,)`` for one per row.
        noise_std: standard deviation of the noise, >= 0, likewise. 0 draws none.
        rng: a :class:`~effebm_ext.Key` (advance it with ``key.at(step)``), a torch.Generator on
            x's device, or None for torch's default generator. The noise is that which a Langevin
            step with this key adds; the directions are independent of it.

    Returns:
        A :class:`PerturbedPair` of new tensors. Not differentiable. The points of 16-bit states are
        rounded to them, so that v is then only nearly half of their difference.

    ``torch.vmap`` folds its axis into the rows, and its ``randomness`` is obeyed as by
    :func:`effebm_ext.langevin_step`.

    Tensors given as radius or noise_std are not checked for their values. Under torch.compile pass
    those that change as tensors; a torch.Generator cannot be traced.

    Raises:
        TypeError: x has another dtype than stated, or an argument another type.
        ValueError: a number is out of range, a tensor of radii or noise_stds has another shape.
        RuntimeError: a derivative by an argument is taken (it requires grad and grad mode is on, or
            it has a tangent); x is on a device without kernels; ``torch.vmap`` has
            ``randomness="error"``.
    """
    check_state(x)
    check_not_differentiated("perturbed_pair", x, radius, noise_std)
    lengths = chain_scalar(radius, x, "radius")
    noises = chain_scalar(noise_std, x, "noise_std")
    return PerturbedPair(*_PERTURBED_PAIR(x, *key_arguments(rng, x), *lengths, *noises))


@torch.library.register_fake("effebm::perturbed_pair")
def _(x: Tensor, *arguments: object) -> tuple[Tensor, Tensor]:
    return (
        x.new_empty((2, *x.shape)),
        x.new_empty((x.shape[0],), dtype=compute_dtype(x.dtype)),
    )


torch.library.register_vmap(
    "effebm::perturbed_pair",
    rule_by_folding(_PERTURBED_PAIR, scalars=("radii", "noise_stds"), key="key", axes=(1, 0)),
)


def perturbed_pair_reference(
    x: Tensor,
    radius: float | Tensor,
    *,
    noise_std: float | Tensor = 0.0,
    seed: int = 0,
    offset: int = 0,
    first_chain: int = 0,
) -> PerturbedPair:
    """The same in plain PyTorch.

    Equal to the op in bits; for float64 states and noise_std > 0, whose fma can be an ulp off (see
    :func:`effebm_ext.reference.fma`), within two ulp of the largest term.
    """
    n_chains, dim = x.shape[0], row_size(x)
    dtype = compute_dtype(x.dtype)
    state = x.reshape(n_chains, dim).to(dtype)
    length, std = (torch.as_tensor(s, dtype=dtype).reshape(-1, 1) for s in (radius, noise_std))
    g = normals(n_chains, dim, seed, offset, first_chain, _DIRECTIONS).to(dtype)
    xi = normals(n_chains, dim, seed, offset, first_chain).to(dtype)
    norm = sqrt(canonical_sum(g * g))[:, None]
    v = torch.where(norm > 0, length / norm, 0.0) * g
    centre = torch.where(std != 0, fma(std, xi, state), state)
    products = torch.where(std != 0, v * (std * xi), 0.0)
    pair = torch.stack([centre + v, centre - v]).to(x.dtype)
    return PerturbedPair(pair.reshape(2, *x.shape), canonical_sum(products))
