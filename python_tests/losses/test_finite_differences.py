"""Derivatives along a direction, and the warning where rounding takes them."""

import math
import random
import warnings

import pytest
import torch
from helpers import normal
from torch.testing import assert_close

from effebm_ext import losses
from effebm_ext.losses import directional_derivative, finite_differences

N, DIM = 7, 4


def points(seed=0):
    return normal(N, DIM, seed=seed, dtype=torch.float64)


def polynomial(degree):
    """Of ``a.x``, with its derivative of that order along v, ``degree! (a.v)^degree``."""
    a = normal(DIM, seed=5, dtype=torch.float64)
    coefficients = normal(degree + 1, seed=6, dtype=torch.float64)

    def f(x):
        powers = torch.stack([(x @ a) ** k for k in range(degree + 1)])
        return (coefficients[:, None] * powers).sum(0)

    def highest(v):
        return coefficients[degree] * math.factorial(degree) * (v @ a) ** degree

    return f, highest


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_exact_for_polynomials_of_the_order_with_any_nodes(order):
    f, highest = polynomial(order)
    x, v = points(), points(1)
    unit = v / v.norm(dim=1, keepdim=True)
    draw = random.Random(order)
    choices = [None, *([draw.uniform(-2, 2) for _ in range(order + 1)] for _ in range(5))]
    for nodes in choices:
        found = directional_derivative(f, x, v, order, nodes)
        assert_close(found, highest(unit), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_a_polynomial_of_lower_degree_has_none(order):
    f, _ = polynomial(order - 1)
    found = directional_derivative(f, points(), points(1), order)
    assert found.abs().max() < 1e-9


@pytest.mark.parametrize(("order", "nodes", "power"), [
    (1, None, 2), (2, None, 2), (3, None, 2), (4, None, 2), (1, [0, 1], 1), (2, [0, 1, 2], 1),
])  # fmt: skip
def test_the_error_falls_with_the_step(order, nodes, power):
    """Of exp(u.x), whose derivatives along u are itself times |u|^order."""
    u = points(2)[0] / 3
    x, v = points(), u.expand(N, DIM)
    want = (x @ u).exp() * u.norm() ** order

    def error(step):
        f = directional_derivative(lambda x: (x @ u).exp(), x, step * v, order, nodes)
        return float((f - want).norm())

    assert error(0.4) / error(0.2) == pytest.approx(2**power, rel=0.15)


def test_values_of_any_shape_and_their_parameters():
    weight = normal(DIM, 3, seed=4, dtype=torch.float64).requires_grad_()
    x, v = points(), points(1)
    unit = v / v.norm(dim=1, keepdim=True)
    found = directional_derivative(lambda x: x @ weight, x, v, 1)
    assert_close(found, unit @ weight)
    found.sum().backward()
    assert_close(weight.grad, unit.sum(0)[:, None].expand(DIM, 3))
    narrow = directional_derivative(lambda x: (x @ weight).bfloat16(), x, v, 1)
    assert narrow.dtype == torch.float32


@pytest.mark.parametrize(
    ("order", "nodes", "message"),
    [
        (0, None, "order: expected at least 1, got 0"),
        (2, [0, 1], r"nodes: expected 3 different finite numbers, got \[0.0, 1.0\]"),
        (1, [1, 1.0], "nodes: expected 2 different finite numbers"),
        (1, [0, math.nan], r"nodes: expected 2 different finite numbers, got \[0.0, nan\]"),
    ],
)
def test_bad_arguments_are_refused(order, nodes, message):
    with pytest.raises(ValueError, match=message):
        directional_derivative(torch.sum, points(), points(), order, nodes)
    with pytest.raises(ValueError, match=r"v: expected the shape of x, \(7, 4\), got \(4,\)"):
        directional_derivative(torch.sum, points(), points()[0], 1)


@pytest.fixture
def afresh(monkeypatch):
    monkeypatch.setattr(finite_differences, "_warned", set())


def shifted(offset):
    """A curvature of one everywhere, at energies of about ``offset``."""
    return lambda x: x.square().sum(1) / 2 + offset


@pytest.mark.parametrize(
    ("epsilon", "offset", "fires"),
    [
        (0.1, 0.0, False),
        (0.001, 0.0, True),
        (0.1, 300.0, False),
        (0.1, 30000.0, True),
        (10.0, 30000.0, False),
    ],
)
def test_warns_where_rounding_takes_the_second_difference(afresh, epsilon, offset, fires):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        losses.fd_ssm(shifted(offset), points().float(), epsilon)
    assert len(seen) == fires
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # float64 has room for all of these
        losses.fd_ssm(shifted(offset), points(), epsilon)


def test_the_first_difference_loses_less(afresh):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses.fd_dsm(shifted(0.0), points().float(), 0.3, 1e-3)
    with pytest.warns(RuntimeWarning, match="too small for energies"):
        losses.fd_dsm(shifted(3e4), points().float(), 0.3, 1e-3)


def test_the_warning_has_figures_and_its_place_and_comes_once(afresh):
    x = 100 + points().float()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for offset in (3e4, 3e5):
            losses.fd_ssm(shifted(offset), x, 0.01)
        losses.fd_ssm(shifted(3e5), x, 0.01)
    assert len(seen) == 2  # there are two places
    assert [w.filename for w in seen] == [__file__] * 2
    size = float(shifted(3e4)(x).mean())
    text = str(seen[0].message)
    assert text.startswith(f"epsilon 0.01 is too small for energies of magnitude {size:.3g} in ")
    assert "is about " in text


def test_the_estimate_is_near_the_error_that_is_made(afresh):
    """The second difference of a float32 energy against that of a float64 one."""
    x, epsilon, offset = normal(4000, DIM), 0.01, 300.0
    f, v = shifted(offset), torch.full((4000, DIM), epsilon / DIM**0.5)
    exact = epsilon**2
    found = f(x + v) + f(x - v) - 2 * f(x)
    actual = float((found - exact).square().mean().sqrt()) / exact
    with pytest.warns(RuntimeWarning) as seen:
        losses.fd_ssm(f, x, epsilon)
    estimate = float(str(seen[0].message).split("is about ")[1].split(". ")[0])
    assert estimate / 3 < actual < 3 * estimate
