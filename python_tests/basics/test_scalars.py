import decimal
import fractions

import numpy as np
import pytest
import torch

from effebm_ext.scalars import as_float, as_int


@pytest.mark.parametrize(
    "value",
    [3, np.int64(3), np.int8(3), np.uint64(3), np.array(3), torch.tensor(3), np.prod([3, 1])],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_integers_of_every_kind_are_ints(value):
    got = as_int(value, "k")
    assert type(got) is int
    assert got == 3


@pytest.mark.parametrize(
    "value",
    [True, np.True_, torch.tensor(True), 3.0, np.float64(3), "3", None, torch.tensor([3]), [3]],
    ids=lambda value: f"{type(value).__name__}-{value}",
)
def test_other_values_are_no_ints(value):
    with pytest.raises(TypeError, match="k: expected an int, got "):
        as_int(value, "k")


@pytest.mark.parametrize(
    "value",
    [0.5, np.float64(0.5), np.float32(0.5), np.float16(0.5), np.array(0.5), torch.tensor(0.5),
     torch.tensor(0.5, dtype=torch.bfloat16), fractions.Fraction(1, 2)],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)  # fmt: skip
def test_numbers_of_every_kind_are_floats(value):
    got = as_float(value, "step_size")
    assert type(got) is float
    assert got == 0.5


def test_integers_are_numbers():
    assert [as_float(v, "x") for v in (2, np.int32(2), torch.tensor(2))] == [2.0] * 3


@pytest.mark.parametrize(
    "value",
    [False, np.False_, torch.tensor(True), "0.5", None, 1j, np.array([0.5]), torch.zeros(1),
     decimal.Decimal("0.5")],
    ids=lambda value: f"{type(value).__name__}-{value}",
)  # fmt: skip
def test_other_values_are_no_numbers(value):
    with pytest.raises(TypeError, match="step_size: expected a number, got "):
        as_float(value, "step_size")


def test_the_message_tells_shape_and_dtype():
    with pytest.raises(TypeError, match=r"x: expected a number, got Tensor of .*32 and shape \(2,"):
        as_float(torch.zeros(2), "x")
