"""The laws of plain chains are the integrals of their densities, and their limits."""

import math

import numpy as np
import pytest
from helpers import named
from scipy import integrate, stats

from effebm_ext.bias import plain

X = np.linspace(-6, 6, 49)
RATIOS = [0.01, 0.1, 0.5, 0.9]


def mean(samples):
    """With its standard error."""
    return samples.mean(), samples.std() / math.sqrt(len(samples))


def flat_top(x, threshold):
    return math.exp(-(max(abs(x), threshold) ** 2 - threshold**2) / 2)


@pytest.mark.parametrize("ratio", RATIOS)
def test_flat_top_is_the_integral_of_its_density(ratio):
    law = plain.FlatTop(ratio)
    t = law.threshold

    def integral(weight, lower, upper):
        options = {"points": [p for p in (-t, t) if lower < p < upper], "limit": 200}
        return integrate.quad(lambda x: weight(x) * flat_top(x, t), lower, upper, **options)[0]

    whole = integral(lambda x: 1, -t - 12, t + 12)
    beyond = 2 * integral(lambda x: 1, t, t + 12)
    assert beyond / whole == pytest.approx(ratio, rel=1e-8)
    assert law.var() == pytest.approx(integral(lambda x: x * x, -t - 12, t + 12) / whole, rel=1e-8)
    for x in (-t - 1, -0.5 * t, 0.0, 0.5 * t, t + 1):
        assert law.cdf(x) == pytest.approx(integral(lambda x: 1, -t - 12, x) / whole, abs=1e-8)


def test_flat_top_has_the_published_variances_and_tends_to_the_target():
    assert plain.FlatTop(0.5).var() == pytest.approx(1.09, abs=0.005)
    assert plain.FlatTop(0.1).var() == pytest.approx(3.45, abs=0.005)
    assert plain.FlatTop(0.01).var() == pytest.approx(33.3, abs=0.05)
    np.testing.assert_allclose(plain.FlatTop(1 - 1e-9).cdf(X), stats.norm.cdf(X), atol=1e-6)
    # the threshold grows like ratio^-1/2, and the law becomes uniform within it
    assert plain.FlatTop(1e-6).var() == pytest.approx(1e6 / 3, rel=0.01)


@pytest.mark.parametrize(
    ("law", "power"),
    [(plain.TopKRow(1, 2), lambda x, y: max(x, y) ** 2 / 2),
     (plain.SignBlock(2), lambda x, y: (x + y) ** 2 / 4)],
    ids=named,
)  # fmt: skip
def test_laws_of_a_row_of_two_by_quadrature(law, power):
    def integral(weight, upper):
        def rest(x):
            split = integrate.quad(lambda y: math.exp(-power(x, y)), 0, 12, points=[x])
            return weight(x) * split[0]

        return integrate.quad(rest, 0, upper)[0]

    whole = integral(lambda x: 1, 11)
    assert law.var() == pytest.approx(integral(lambda x: x * x, 11) / whole, rel=1e-4)
    for x in (0.3, 1.0, 2.5):
        expected = (1 + integral(lambda x: 1, x) / whole) / 2
        assert law.cdf(np.array([x]))[0] == pytest.approx(expected, abs=2e-4)


def test_laws_of_rows_tend_to_those_of_entries_and_to_the_target():
    for row, entry in [
        (plain.TopKRow(10_000, 100_000), plain.FlatTop(0.1)),
        (plain.TopKRow(50, 50), stats.norm()),
        (plain.SignBlock(100_000), stats.laplace()),
        (plain.SignBlock(1), stats.norm()),
    ]:
        np.testing.assert_allclose(row.cdf(X), entry.cdf(X), atol=5e-4)
        assert row.var() == pytest.approx(entry.var(), rel=5e-4)
    assert plain.TopKRow(1, 1000).var() == pytest.approx(1002 / 3)


@pytest.mark.parametrize("law", [plain.TopKRow(5, 50), plain.SignBlock(10)], ids=named)
def test_samples_follow_the_law(law):
    x = law.sample((4000, 50), np.random.default_rng(0))
    variance, error = mean((x**2).mean(1))
    assert abs(variance - law.var()) < 4 * error
    for at, expected in zip(X[::6], law.cdf(X[::6]), strict=True):
        share, error = mean((x < at).mean(1))
        assert abs(share - expected) < 4 * error + 1e-4


@pytest.mark.parametrize("ratio", RATIOS)
def test_several_equal_scales_have_the_law_of_one(ratio):
    law = plain.FlatTops(np.full(3, 2.0), ratio)
    np.testing.assert_allclose(law.var(), plain.FlatTop(ratio).var() / 2)
    drawn = law.sample((20_000, 3), np.random.default_rng(0)).ravel()
    variance, error = mean(drawn**2)
    assert abs(variance - law.var()[0]) < 4 * error
    assert plain.sign_variance(np.array([1.0, 3.0])) == 1


def test_falling_root():
    assert plain.falling_root(lambda x: 2 - x * x, 3) == pytest.approx(math.sqrt(2), abs=1e-15)
