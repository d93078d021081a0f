"""The kernel Stein discrepancy against a loop, a closed form by quadrature, and its own errors."""

import math

import numpy as np
import pytest
import torch
from helpers import normal
from scipy import stats

from effebm_ext.evaluation import kernel_stein_discrepancy, stein


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def by_autograd(x, score, bandwidth):
    """u of all pairs (n, n), by the derivatives of the kernel themselves."""

    def kernel(a, b):
        return (1 + (a - b).square().sum() / bandwidth**2) ** -0.5

    n = len(x)
    u = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            a, b = x[i].clone().requires_grad_(), x[j].clone().requires_grad_()
            k = kernel(a, b)
            by_a, by_b = torch.autograd.grad(k, (a, b), create_graph=True)
            trace = sum(torch.autograd.grad(by_b[m], a, retain_graph=True)[0][m] for m in range(2))
            u[i, j] = score[i] @ score[j] * k + score[i] @ by_b + score[j] @ by_a + trace
    return u.detach()


@pytest.mark.parametrize("elements", [2**21, 15])
def test_the_statistic_is_the_mean_over_pairs(elements, monkeypatch):
    monkeypatch.setattr(stein, "_ELEMENTS", elements)  # blocks of all samples, and of two
    x, score = normal(7, 2, seed=1).double() + 5, normal(7, 2, seed=2).double()
    u = by_autograd(x, score, 0.8).fill_diagonal_(0)
    means = u.sum(1) / 6
    got = kernel_stein_discrepancy(x, score, bandwidth=0.8, n_bootstrap=50, generator=generator(3))
    assert got.ksd == pytest.approx(float(means.mean()), rel=1e-12)
    assert got.error == pytest.approx(2 * float(means.std()) / math.sqrt(7), rel=1e-12)
    signs = (2 * torch.randint(2, (50, 7), generator=generator(3)) - 1).double()
    null = ((signs @ u) * signs).sum(1)
    assert got.p_value == (1 + int((null >= u.sum()).sum())) / 51
    images = kernel_stein_discrepancy(x[:, :, None], score[:, :, None], bandwidth=0.8)
    assert images == got._replace(p_value=None)
    free = kernel_stein_discrepancy(x, score)
    assert free.bandwidth == pytest.approx(float(torch.pdist(x).median()))


def test_the_expectation_is_the_integral_of_the_errors_of_the_score():
    """Samples of N(0.3, 1.25) and the score of N(0, 1), on a line."""
    mean, variance, bandwidth = 0.3, 1.25, 1.1
    law = stats.norm(mean, math.sqrt(variance))

    points, weights = np.polynomial.legendre.leggauss(200)
    at = 8 * points
    weighted = 8 * weights * law.pdf(at) * ((at - mean) / variance - at)
    want = weighted @ (1 + (at[:, None] - at) ** 2 / bandwidth**2) ** -0.5 @ weighted
    found = [
        kernel_stein_discrepancy(x, -x, bandwidth=bandwidth)
        for x in mean + math.sqrt(variance) * normal(200, 100, 1, seed=3)
    ]
    values = torch.tensor([f.ksd for f in found])
    error = float(values.std()) / math.sqrt(len(values))
    assert abs(values.mean() - want) < 3 * error < want / 4
    assert np.mean([f.error for f in found]) == pytest.approx(float(values.std()), rel=0.2)


def test_exact_samples_have_none_and_uniform_p_values():
    found = [
        kernel_stein_discrepancy(x, -x, n_bootstrap=99, generator=generator(k))
        for k, x in enumerate(normal(200, 60, 3, seed=5))
    ]
    values = torch.tensor([f.ksd for f in found])
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(len(values))
    ratio = np.mean([f.error for f in found]) / float(values.std())
    assert ratio == pytest.approx(math.sqrt(2), rel=0.2)
    p = torch.tensor([f.p_value for f in found])
    assert (p <= 0.1).float().mean() == pytest.approx(0.1, abs=0.07)
    assert (p <= 0.5).float().mean() == pytest.approx(0.5, abs=0.11)


def test_a_single_pair_gives_no_error():
    x = normal(3, 2, seed=8)
    assert kernel_stein_discrepancy(x[:2], -x[:2]).error == math.inf
    assert 0 < kernel_stein_discrepancy(x, -x).error < math.inf


@pytest.mark.parametrize("variance", [0.8, 1.25])
def test_a_wrong_variance_is_seen(variance):
    x = math.sqrt(variance) * normal(2000, 2, seed=6)
    got = kernel_stein_discrepancy(x, -x, generator=generator())
    assert got.ksd > 3 * got.error
    assert got.p_value < 0.01


def test_a_shift_of_the_samples_and_the_density_changes_nothing():
    x = normal(50, 3, seed=7).double()
    near, far = (kernel_stein_discrepancy(x + shift, -x) for shift in (0.0, 1e4))
    assert far.ksd == pytest.approx(near.ksd, rel=1e-6)


@pytest.mark.parametrize(
    ("x", "score", "options", "message"),
    [
        (normal(1, 2), normal(1, 2), {}, r"x, score: expected .* got \(1, 2\) and \(1, 2\)"),
        (normal(5, 2), normal(5, 3), {}, r"x, score: expected .* got \(5, 2\) and \(5, 3\)"),
        (normal(5, 2), normal(5, 2) * math.nan, {}, "x, score: expected finite values"),
        (normal(5, 2), normal(5, 2), {"bandwidth": -1}, "bandwidth: .* > 0, got -1"),
        (torch.ones(5, 2), normal(5, 2), {}, "bandwidth: .* > 0, got 0"),
        (normal(5, 2), normal(5, 2), {"n_bootstrap": 0}, "n_bootstrap: expected at least 1, got 0"),
    ],
)
def test_bad_samples_are_refused(x, score, options, message):
    with pytest.raises(ValueError, match=message):
        kernel_stein_discrepancy(x, score, **options)
