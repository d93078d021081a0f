"""The bias of a compressed Langevin chain on a Gaussian, told before it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from effebm_ext.bias.laws import Chain, law_of
from effebm_ext.ops.checks import check_shrinks
from effebm_ext.ops.compressor import FusedCompressor
from effebm_ext.scalars import as_int, as_positive

Curvatures = float | Sequence[float] | np.ndarray | torch.Tensor


@dataclass(frozen=True)
class PredictedBias:
    """What the stationary law of a chain is expected to be.

    Attributes:
        curvatures: those that were asked for.
        relative_variances: per curvature, ``curvature * Var / temperature``, which is 1 under the
            target; None where no closed form holds.
        temperature: of the target.
        largest_step_size: from which on the chain diverges; None where this is not known, which is
            under Block-Sign with feedback.
        law: the law that was used, in words.
        warning: why there are no variances, or what they do not show; else empty.
    """

    curvatures: tuple[float, ...]
    relative_variances: tuple[float, ...] | None
    temperature: float
    largest_step_size: float | None
    law: str
    warning: str = ""

    @property
    def variances(self) -> tuple[float, ...] | None:
        """Per curvature, the variance along its axes; None where no closed form holds."""
        if self.relative_variances is None:
            return None
        pairs = zip(self.relative_variances, self.curvatures, strict=True)
        return tuple(self.temperature * v / c for v, c in pairs)

    @property
    def virial(self) -> float | None:
        """``E[x . grad E(x)] / (d temperature)``, the mean of the relative variances, which is 1
        under the target. Under Top-k and Block-Sign with feedback it is
        ``1 + gamma / 4 E|c|^2 / (d temperature)`` with the compressed gradient c."""
        if self.relative_variances is None:
            return None
        return sum(self.relative_variances) / len(self.relative_variances)

    @property
    def bias(self) -> float:
        """The largest relative error of a variance; infinite where no closed form holds."""
        if self.relative_variances is None:
            return math.inf
        return max(abs(v - 1) for v in self.relative_variances)


def predicted_bias(
    compressor: FusedCompressor | None,
    shape: int | Sequence[int],
    step_size: float,
    curvature: Curvatures = 1.0,
    error_feedback: bool = True,
    temperature: float = 1.0,
) -> PredictedBias:
    """Returns the variances of a stationary Langevin chain on a Gaussian, from closed forms.

    Their sources are the modules of this package and docs/compression_bias.md, which has
    measurements of how far each of them holds.

    Args:
        compressor: of the gradient; None: none.
        shape: of the event, or its number of entries.
        step_size: gamma > 0, as of :class:`effebm_ext.Langevin`.
        curvature: eigenvalues > 0 of the Hessian of the energy, whose axes are those of the
            entries: a number, a sequence, an array or a tensor. Several of them have equal shares
            of the entries, and of every block.
        error_feedback: as of :class:`effebm_ext.Langevin`; without a compressor it makes no
            difference.
        temperature: > 0. It scales the variances. The relative variances do not depend on it, but
            for a few digits under natural compression.

    Raises:
        TypeError: an argument is of another type, as a compressor that is a function.
        ValueError: a number is out of range, there are more curvatures than entries, the compressor
            does not fit the shape, or its error cannot be fed back.
    """
    chain = Chain(
        dim=_entries(shape),
        step_size=as_positive(step_size, "step_size"),
        curvatures=_curvatures(curvature),
        error_feedback=error_feedback,
        temperature=as_positive(temperature, "temperature"),
    )
    if len(chain.curvatures) > chain.dim:
        raise ValueError(
            f"curvature: expected at most {chain.dim}, one for each entry, got "
            f"{len(chain.curvatures)}"
        )
    if error_feedback:
        check_shrinks(compressor, "error_feedback")
    law = law_of(compressor, chain)
    variances = None if law.variances is None else tuple(law.variances)
    return PredictedBias(
        chain.curvatures,
        variances,
        chain.temperature,
        law.largest_step_size,
        law.text,
        law.warning,
    )


def step_size_for_bias(
    tolerance: float,
    compressor: FusedCompressor | None,
    shape: int | Sequence[int],
    curvature: Curvatures = 1.0,
    error_feedback: bool = True,
) -> float | None:
    """Returns the largest step size at which no relative variance is off by more than
    ``tolerance`` > 0, to four digits; None: it is off by more however small the steps are.

    The laws for small steps leave out the bias of the step itself, gamma lambda / 4, which is kept
    below the tolerance too.

    Raises:
        TypeError, ValueError: as :func:`predicted_bias`.
    """
    tolerance = as_positive(tolerance, "tolerance")

    def holds(step_size: float) -> bool:
        found = predicted_bias(compressor, shape, step_size, curvature, error_feedback)
        return found.bias <= tolerance

    upper = 4 * tolerance / max(_curvatures(curvature))
    lower = upper * 1e-9
    if not holds(lower):
        return None
    if holds(upper):
        return upper
    while upper / lower > 1.0001:
        middle = math.sqrt(lower * upper)
        lower, upper = (middle, upper) if holds(middle) else (lower, middle)
    return lower


def _entries(shape: int | Sequence[int]) -> int:
    sizes = shape if isinstance(shape, Sequence) else [shape]
    dim = math.prod(as_int(size, "shape") for size in sizes)
    if dim < 1 or min(sizes, default=1) < 1:
        raise ValueError(f"shape: expected sizes of at least 1, got {shape}")
    return dim


def _curvatures(curvature: Curvatures) -> tuple[float, ...]:
    if isinstance(curvature, (np.ndarray, torch.Tensor)):
        curvature = curvature.tolist()
    values = curvature if isinstance(curvature, Sequence) else [curvature]
    if len(values) == 0:
        raise ValueError("curvature: expected at least one number, got none")
    return tuple(as_positive(value, "curvature") for value in values)
