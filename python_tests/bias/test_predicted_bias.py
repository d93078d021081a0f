"""Predicted variances against exact laws, limits, and chains of the library's own sampler."""

import math

import numpy as np
import pytest
import torch
from helpers import named, normal

import effebm_ext as eff
from effebm_ext.bias import feedback, linear, predicted_bias, step_size_for_bias

BIASED_HALF = eff.RandomK(ratio=0.5, unbiased=False)


def measured(compressor, dim, step_size, curvatures, error_feedback, *, chains, n_steps, start=1.0):
    """Relative variances of states, per curvature and with their errors over chains, of a run that
    starts from normal entries of the relative variances ``start``. A quarter of it burns in."""
    precision = torch.tensor(curvatures).repeat(dim // len(curvatures))
    sampler = eff.Langevin(
        score=lambda x: -precision * x, step_size=step_size, compressor=compressor,
        error_feedback=error_feedback,
    )  # fmt: skip
    spread = (torch.tensor(start) / torch.tensor(curvatures)).sqrt()
    x0 = normal(chains, dim) * spread.expand(len(curvatures)).repeat(dim // len(curvatures))
    thin = max(1, n_steps // 200)
    state = sampler.init(x0, rng=eff.Key(1))
    squares, n = torch.zeros_like(x0), n_steps // thin
    for look in range(n):
        sampler.advance_(state, thin)
        if look >= n // 4:
            squares += state.x.square() * precision / (n - n // 4)
    per_chain = squares.unflatten(1, (-1, len(curvatures))).mean(1)
    return per_chain.mean(0), per_chain.std(0) / math.sqrt(chains)


@pytest.mark.parametrize("compressor", [None, eff.TopK(ratio=1.0), eff.BlockSign(1)], ids=named)
@pytest.mark.parametrize("step_size", [1e-3, 0.3, 1.9])
def test_without_compression_it_is_the_exact_autoregression(compressor, step_size):
    found = predicted_bias(compressor, (2, 3), step_size, [0.5, 2.0], temperature=3.0)
    for variance, curvature in zip(found.variances, found.curvatures, strict=True):
        recursion = 0.0
        for _ in range(200_000):
            before = recursion
            recursion = (1 - step_size * curvature / 2) ** 2 * recursion + step_size * 3.0
            if recursion == before:
                break
        assert variance == pytest.approx(recursion, rel=1e-12)
    assert found.largest_step_size == 2
    assert predicted_bias(compressor, 6, 2.0, [0.5, 2.0]).variances is None


# The curvatures, the step size and how far the excess over 1 may be off, as a share of it.
FEEDBACK = [
    (eff.TopK(ratio=0.1), 1000, 0.2, [1.0], 0.06),
    (eff.TopK(ratio=0.1), 1000, 0.02, [1.0], 0.06),
    (eff.TopK(2), 20, 0.2, [1.0], 0.06),
    (eff.TopK(ratio=0.5), 200, 0.5, [1.0], 0.06),
    (eff.TopK(ratio=0.02), 1000, 0.02, [1.0, 4.0], 0.1),
    (eff.TopK(ratio=0.1), 1000, 0.02, [1.0, 16.0], 0.1),
    (eff.BlockSign(600), 600, 0.1, [1.0], 0.15),
    (eff.BlockSign(8), 600, 0.2, [1.0], 0.1),
    (eff.BlockSign(2), 600, 0.3, [1.0], 0.1),
    (eff.BlockSign(600), 600, 0.03, [1.0, 4.0], 0.15),
    (eff.BlockSign(16), 600, 0.03, [1.0, 4.0], 0.15),
]  # fmt: skip


@pytest.mark.parametrize(("compressor", "dim", "step_size", "curvatures", "share"), FEEDBACK)
def test_feedback_leaves_what_the_laws_say(compressor, dim, step_size, curvatures, share):
    law = predicted_bias(compressor, dim, step_size, curvatures)
    n_steps = round(40 / step_size)
    found, error = measured(
        compressor, dim, step_size, curvatures, True, chains=12_000 // dim, n_steps=n_steps,
        start=law.relative_variances,
    )  # fmt: skip
    expected = torch.tensor(law.relative_variances)
    assert ((found - expected).abs() < share * (expected - 1) + 4 * error).all()
    assert (error < 0.3 * (expected.max() - 1)).all()
    assert law.virial == pytest.approx(float(expected.mean()))


@pytest.mark.parametrize(
    ("compressor", "dim", "step_size", "error_feedback"),
    [
        (eff.RandomK(5, unbiased=False), 50, 0.02, True),
        (BIASED_HALF, 50, 0.4, False),
        (eff.RandomK(5), 50, 0.02, False),
        (eff.NaturalCompression(), 50, 0.3, True),
        (eff.NaturalCompression(), 50, 0.3, False),
    ],
    ids=named,
)
def test_linear_compressors_are_exact(compressor, dim, step_size, error_feedback):
    curvatures = [1.0, 4.0]
    law = predicted_bias(compressor, dim, step_size, curvatures, error_feedback)
    found, error = measured(
        compressor, dim, step_size, curvatures, error_feedback, chains=20_000 // dim,
        n_steps=round(30 / step_size), start=law.relative_variances,
    )  # fmt: skip
    expected = torch.tensor(law.relative_variances)
    assert ((found - expected).abs() < 4 * error).all()
    assert (error < 0.01 * expected).all()
    assert law.bias > 0.1


@pytest.mark.parametrize("compressor", [eff.TopK(1), eff.TopK(5), eff.BlockSign(10)], ids=named)
def test_plain_chains_have_the_law_of_their_rows(compressor):
    law = predicted_bias(compressor, 10, 0.02, 2.0, error_feedback=False)
    found, error = measured(
        compressor, 10, 0.02, [2.0], False, chains=1000, n_steps=1000,
        start=law.relative_variances,
    )  # fmt: skip
    assert abs(found - law.virial) < 4 * error + 0.005 * law.virial
    assert error < 0.015 * law.virial


def test_topk_tends_to_the_leading_law_and_to_no_compression():
    curvatures = torch.tensor([1.0, 9.0, 100.0], dtype=torch.float64)
    roots = curvatures.sqrt()
    ratio = 1e-4
    found = feedback.topk_variances(curvatures, ratio, 1e-12) - 1
    leading = 1e-12 / ratio / (2 * math.pi) * roots * roots.mean()
    torch.testing.assert_close(found, leading, rtol=2e-3, atol=0)
    unstable = 2 * math.pi * ratio / float(curvatures.mean())
    largest = feedback.topk_largest_step_size(curvatures, ratio)
    assert largest == pytest.approx(unstable, rel=2e-3)
    found = feedback.topk_variances(curvatures, 1.0, 0.03)
    torch.testing.assert_close(found, 1 / (1 - 0.03 * curvatures / 4), rtol=1e-8, atol=0)
    assert feedback.topk_largest_step_size(curvatures, 1.0) == pytest.approx(0.04, rel=1e-8)


@pytest.mark.filterwarnings("ignore:.*chains diverged")
@pytest.mark.parametrize("curvatures", [[1.0], [1.0, 100.0]])
def test_topk_with_feedback_diverges_where_it_says(curvatures):
    limit = predicted_bias(eff.TopK(60), 600, 1e-3, curvatures).largest_step_size
    below, _ = measured(eff.TopK(60), 600, 0.9 * limit, curvatures, True, chains=4, n_steps=1500)
    above, _ = measured(eff.TopK(60), 600, 1.25 * limit, curvatures, True, chains=4, n_steps=1500)
    assert below.max() < 10
    assert not above.max() < 1e3  # it may be nan
    found = predicted_bias(eff.TopK(60), 600, limit, curvatures)
    assert (found.variances, found.virial, found.bias) == (None, None, math.inf)
    assert "diverges" in found.warning


def test_small_steps_of_a_block_leave_its_largest_gradient():
    """E max of two squared normal variables is 1 + 2 / pi."""
    one = torch.ones(1, dtype=torch.float64)
    excess = float(feedback.block_sign_variances(one, 2, 1e-9) - 1) / 1e-9
    assert excess == pytest.approx((1 + 2 / math.pi) / 4, rel=1e-4)
    several = torch.tensor([1.0, 4.0], dtype=torch.float64)
    excess = (feedback.block_sign_variances(several, 2, 1e-9) - 1) / 1e-9
    pairs = normal(200_000, 2).double() * several.sqrt()
    largest = pairs.square().amax(1).mean()  # of one entry of either curvature
    assert float(excess.sum()) == pytest.approx(float(largest) * 2 / 4, rel=0.01)


def test_blocks_of_several_sizes_are_averaged():
    halves = eff.BlockSign(block_offsets=[0, 2, 10])
    mixed = predicted_bias(halves, 10, 0.1).virial
    parts = [predicted_bias(eff.BlockSign(b), b, 0.1).virial for b in (2, 8)]
    assert mixed == pytest.approx(0.2 * parts[0] + 0.8 * parts[1])
    assert predicted_bias(eff.BlockSign(8), 10, 0.1).virial == pytest.approx(mixed)
    assert predicted_bias(eff.BlockSign(99), 8, 0.1).virial == parts[1]


def test_words_where_no_closed_form_holds():
    sign = eff.BlockSign(64)
    assert "heavy tails" in predicted_bias(sign, 64, 0.02).warning
    assert "no closed form" in predicted_bias(sign, 64, 1.0).warning
    few = predicted_bias(eff.BlockSign(4), 64, 0.02, [1, 2], error_feedback=False)
    assert few.variances is None
    assert "no closed form" in few.warning
    assert "diverges" in predicted_bias(eff.TopK(0), 64, 0.02).warning
    assert "diverges" in predicted_bias(eff.TopK(5), 64, 4.1, error_feedback=False).warning
    many = predicted_bias(sign, 64, 0.02, [1.0, 3.0], error_feedback=False)
    assert many.relative_variances == (1.0, 3.0)
    assert many.variances == (1.0, 1.0)


@pytest.mark.parametrize(("k", "dim", "curvatures"), [(1, 2, [1.0]), (1, 32, [1.0, 4.0])])
def test_short_rows_have_more_than_the_law_of_long_ones(k, dim, curvatures):
    step_size = 1.5 * k / dim / max(curvatures)
    law = predicted_bias(eff.TopK(k), dim, step_size, curvatures)
    assert "law is that of long rows" in law.warning
    found, error = measured(
        eff.TopK(k), dim, step_size, curvatures, True, chains=20_000 // dim,
        n_steps=round(40 / step_size), start=law.relative_variances,
    )  # fmt: skip
    excess = law.relative_variances[-1] - 1
    assert found[-1] - 1 - 1.07 * excess > 2 * error[-1]
    assert found[-1] - 1 < 1.5 * excess


def test_which_laws_are_those_of_long_rows():
    for dim, is_short in ((32, True), (33, False)):
        assert ("long rows" in predicted_bias(eff.TopK(2), dim, 0.02).warning) == is_short
        several = predicted_bias(eff.TopK(2), dim, 0.02, [1.0, 4.0], error_feedback=False)
        assert ("long rows" in several.warning) == is_short
    assert predicted_bias(eff.TopK(2), 8, 0.02, 1.0, False).warning == ""
    assert predicted_bias(None, 8, 0.02).warning == ""


@pytest.mark.parametrize("compressor", [None, eff.TopK(ratio=0.1), eff.BlockSign(64), BIASED_HALF])
@pytest.mark.parametrize("tolerance", [0.01, 0.1])
def test_the_law_is_inverted(compressor, tolerance):
    step_size = step_size_for_bias(tolerance, compressor, 640, [1.0, 4.0])
    assert predicted_bias(compressor, 640, step_size, [1.0, 4.0]).bias <= tolerance
    assert predicted_bias(compressor, 640, 1.01 * step_size, [1.0, 4.0]).bias > tolerance / 1.011


def test_plain_compression_has_a_bias_at_every_step_size():
    assert step_size_for_bias(0.05, eff.TopK(ratio=0.1), 640, error_feedback=False) is None
    assert step_size_for_bias(0.1, eff.TopK(ratio=0.5), 640, error_feedback=False) == 0.4


@pytest.mark.parametrize("bits", [0, 2])
def test_relative_error_of_natural_compression(bits):
    compressor, u = eff.NaturalCompression(bits), 0.7 * normal(200, 1000, dtype=torch.float64)
    found = (compressor.compress(u, rng=eff.Key(0)) - u).square().mean() / u.square().mean()
    assert float(found) == pytest.approx(linear.relative_error(bits, 0.7), rel=0.02)


def test_the_two_numbers_of_the_laws():
    """Both by simulation of the problems that define them, with steps of time dt."""
    n, dt, width = 4000, 0.01, 4.0
    noise = torch.Generator().manual_seed(0)
    draw = lambda: math.sqrt(dt) * torch.randn(n, generator=noise)  # noqa: E731
    y = width * (2 * torch.rand(n, generator=noise) - 1)
    area, returns, size = torch.zeros(n), torch.zeros(n), torch.zeros(n)
    for step in range(5000):
        following = y + draw()  # reflected at +-width
        following = (following + width).abs() - width
        following = width - (width - following).abs()
        area += dt * (y + following) / 2
        y, gone = following, area.abs() >= 1
        area -= gone * area.sign()
        if step >= 1000:
            returns += gone
            size += dt * y.abs()
    lost = 2 * width * (size - returns) / (4000 * dt)
    error = float(lost.std()) / math.sqrt(n)
    assert abs(float(lost.mean()) - feedback._LOST_RETURNS) < 4 * error < 0.06

    def integral(z, drift, start, until):
        """Of z on its way; the largest value, and the last."""
        area, highest, alive = start, start.clone(), torch.ones(n, dtype=torch.bool)
        for _ in range(2000):
            following = torch.where(alive, z + drift * dt + draw(), z)
            area = area + torch.where(alive, dt * (z + following) / 2, 0)
            z, highest = following, torch.maximum(highest, area)
            alive &= z < until
        return highest.clamp(min=0), area

    above = torch.empty(n).exponential_(1.0, generator=noise)  # starts above 0
    depth = 8.0  # and below, where the chance to come up is exp(z), and z drifts upward if it does
    below = -depth * torch.rand(n, generator=noise)
    _, debt = integral(below, 0.5, torch.zeros(n), 0.0)
    risen, _ = integral(above, -0.5, torch.zeros(n), math.inf)
    late, _ = integral(torch.zeros(n), -0.5, debt, math.inf)
    found = float(risen.mean() + depth * late.mean())
    error = math.hypot(float(risen.std()), depth * float(late.std())) / math.sqrt(n)
    assert abs(found - feedback._OVERFLOW) < 4 * error < 3


@pytest.mark.parametrize("listed", [tuple, np.array, torch.tensor], ids=named)
def test_eigenvalues_may_be_any_sequence(listed):
    found = predicted_bias(None, 10, 0.1, listed([0.5, 2.0]))
    assert found == predicted_bias(None, 10, 0.1, [0.5, 2.0])
    assert predicted_bias(None, 10, 0.1, listed([0.5, 2.0])[1]).curvatures == (2.0,)
    assert step_size_for_bias(0.05, None, 10, listed([0.5, 2.0])) == pytest.approx(
        step_size_for_bias(0.05, None, 10, [0.5, 2.0])
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((lambda u: u, 8, 0.1), TypeError, "compressor: expected TopK"),
        ((eff.RandomK(2), 8, 0.1), ValueError, "error_feedback: expected"),
        ((eff.TopK(9), 8, 0.1), ValueError, "k: expected 0 <= k <= 8"),
        ((None, (2, 0), 0.1), ValueError, "shape: expected sizes of at least 1"),
        ((None, 8.0, 0.1), TypeError, "shape: expected an int"),
        ((None, 8, -1), ValueError, "step_size: expected"),
        ((None, 8, 0.1, [1.0, 0.0]), ValueError, "curvature: expected"),
        ((None, 2, 0.1, [1, 2, 3]), ValueError, "curvature: expected at most 2, .* got 3"),
        ((None, 8, 0.1, []), ValueError, "curvature: expected at least one"),
        ((None, 8, 0.1, np.ones(0)), ValueError, "curvature: expected at least one"),
        ((None, 8, 0.1, np.ones((2, 2))), TypeError, "curvature: expected a number, got list"),
        ((None, 8, 0.1, 1.0, True, 0.0), ValueError, "temperature: expected"),
    ],
)
def test_misuse(arguments, error, message):
    with pytest.raises(error, match=message):
        predicted_bias(*arguments)
    with pytest.raises(ValueError, match="tolerance: expected"):
        step_size_for_bias(0, None, 8)
