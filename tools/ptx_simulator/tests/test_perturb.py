"""The kernels of the perturbed pair against the CPU kernel: equal bits, one pass over memory."""

from __future__ import annotations

import pytest
import torch
from calls import pair
from library import DTYPES


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [5, 60, 1024, 2052])
def test_the_pair_equals_the_cpu_kernel(dtype: torch.dtype, dim: int) -> None:
    pair(5, dim, dtype).check(most_blocks=2)
