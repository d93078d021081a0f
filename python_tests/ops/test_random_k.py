"""RandomK: exactly k entries, all subsets as likely, the mean and the variance of the error."""

import itertools

import pytest
import torch
from helpers import DTYPES, INF, LAYOUTS, NAN, assert_same_bits, named, normal
from scipy import stats
from torch.func import grad, jacfwd, jacrev, vmap

import effebm_ext as eff
from effebm_ext import _C
from effebm_ext.runs.options.parsing import parse_compressor

KEY = eff.Key(-5, offset=3, first_chain=9)
MANY = 20_000


def reference(compressor, x, key=KEY):
    return compressor.reference(x.cpu(), key.seed, key.offset, key.first_chain)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("dim", [1, 5, 64, 1030, 3000])
def test_the_entries_are_those_of_the_reference(device, dtype, unbiased, dim):
    x = normal(7, dim, dtype=dtype, device=device)
    for k in {0, 1, dim // 3, dim}:
        compressor = eff.RandomK(k, unbiased=unbiased)
        assert_same_bits(compressor.compress(x, rng=KEY), reference(compressor, x))


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_rows_of_any_strides(device, layout):
    x = LAYOUTS[layout](normal(4, 6, 5, device=device))
    compressor = eff.RandomK(ratio=0.3)
    assert_same_bits(compressor.compress(x, rng=KEY), reference(compressor, x))


@pytest.mark.parametrize("dim", [300, 5000, 40_000])
def test_exactly_k_entries_stay(device, dim):
    x = torch.ones(3, dim, device=device)
    for k in (1, dim // 10, dim - 1):
        c = eff.RandomK(k, unbiased=False).compress(x, rng=KEY)
        assert c.sum(1).tolist() == [k] * 3
        assert not torch.equal(c[0], c[1])


def test_values_that_are_not_finite_stay_or_vanish(device):
    x = torch.tensor([NAN, INF, -INF, -0.0], device=device).repeat(50, 1)
    c = eff.RandomK(2, unbiased=False).compress(x, rng=KEY)
    kept = c != 0
    assert_same_bits(c[:, 1:3][kept[:, 1:3]], x[:, 1:3][kept[:, 1:3]])
    assert c[:, 0].isnan().sum() == kept[:, 0].sum()


@pytest.mark.parametrize(("dim", "k"), [(4, 2), (5, 2), (6, 3), (7, 1)])
def test_all_subsets_are_as_likely(dim, k):
    kept = eff.RandomK(k).compress(torch.ones(MANY, dim), rng=KEY) != 0
    subsets = list(itertools.combinations(range(dim), k))
    masks = torch.zeros(len(subsets), dim, dtype=torch.bool)
    for mask, subset in zip(masks, subsets, strict=True):
        mask[list(subset)] = True
    counts = (kept[:, None] == masks).all(2).sum(0)
    assert counts.sum() == MANY
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_mean_and_variance_are_those_of_the_closed_form():
    """The mean of C(u) is u, its variance (d/k - 1) u^2, its covariance that of k out of d."""
    d, k, n = 12, 3, 10 * MANY
    u = torch.linspace(-2, 3, d, dtype=torch.float64)
    c = eff.RandomK(k).compress(u.expand(n, d), rng=KEY)
    variance = (d / k - 1) * u**2
    error = (c.mean(0) - u) / (variance / n).sqrt()
    assert error.abs().max() < 4.5
    squares = (c - u).square().sum(1).mean()
    assert squares.item() == pytest.approx(variance.sum().item(), rel=0.01)
    products = (c[:, 0] - u[0]) * (c[:, -1] - u[-1])
    expected = u[0] * u[-1] * ((d / k) * (k - 1) / (d - 1) - 1)
    assert abs(products.mean() - expected) < 4.5 * products.std() / n**0.5


def test_the_biased_one_loses_a_share_of_the_square():
    d, k = 12, 3
    u = normal(1, d, dtype=torch.float64)
    c = eff.RandomK(k, unbiased=False).compress(u.expand(MANY, d), rng=KEY)
    lost = (c - u).square().sum(1).mean()
    assert lost.item() == pytest.approx(((1 - k / d) * u.square().sum()).item(), rel=0.02)


def test_chains_steps_and_the_noise_have_different_numbers():
    x, compressor = torch.ones(6, 400), eff.RandomK(40)
    kept = [compressor.compress(x, rng=eff.Key(1).at(step)) != 0 for step in range(3)]
    overlaps = [(a & b).sum(1) for a, b in itertools.combinations(kept, 2)]
    assert max(overlap.max() for overlap in overlaps) < 20
    whole = compressor.compress(x, rng=eff.Key(1))
    part = compressor.compress(x[2:], rng=eff.Key(1, first_chain=2))
    assert_same_bits(part, whole[2:])
    noise = eff.langevin_step(torch.zeros(6, 400), torch.zeros(6, 400), 1.0, rng=eff.Key(1))
    means = noise[whole != 0].mean() - noise[whole == 0].mean()
    assert abs(means) < 4 / (6 * 40) ** 0.5


@pytest.mark.parametrize("option", [{"k": 4}, {"k": 0}, {"k": 4, "unbiased": False}], ids=str)
def test_a_step_is_the_step_along_what_is_kept(device, option):
    compressor = eff.RandomK(**option)
    x, g = (normal(3, 10, seed=seed, device=device) for seed in (0, 1))
    c = compressor.compress(g, rng=KEY)
    got = eff.langevin_transition(x, g, 0.3, compressor=compressor, rng=KEY)
    assert_same_bits(got.drift, c)
    assert_same_bits(got.x, eff.langevin_step(x, c, 0.3, rng=KEY))
    back = eff.drift(g, compressor=compressor, delta=got.x - x, rng=KEY)
    assert_same_bits(back.drift_dot_delta, got.drift_dot_delta)


def test_error_feedback_keeps_what_is_dropped(device):
    compressor = eff.RandomK(3, unbiased=False)
    x, g = (normal(3, 10, seed=seed, device=device) for seed in (0, 1))
    residual = normal(3, 10, seed=2, device=device)
    u = g + residual
    c = compressor.compress(u, rng=KEY)
    want = eff.langevin_step(x, c, 0.3, rng=KEY)
    eff.langevin_step_(x, g, 0.3, compressor=compressor, residual=residual, rng=KEY)
    assert_same_bits(residual, u - c)
    assert_same_bits(x, want)


def test_the_error_of_the_unbiased_one_is_not_fed_back():
    x, compressor = normal(3, 10), eff.RandomK(3)
    for op in (eff.langevin_step_, eff.langevin_transition):
        with pytest.raises(ValueError, match="residual: expected a compressor whose error"):
            op(x, x, 0.1, compressor=compressor, residual=torch.zeros(3, 10))
    with pytest.raises(ValueError, match="error_feedback: expected a compressor whose error"):
        eff.Langevin(torch.sum, step_size=0.1, compressor=compressor, error_feedback=True)


def compressed(x):
    return eff.RandomK(3).compress(x, rng=KEY)


def stepped(x):
    return eff.langevin_step(
        x, 2 * x, 0.3, compressor=eff.RandomK(3), clip=eff.ClipNorm(2.0), rng=KEY
    )


@pytest.mark.parametrize("function", [compressed, stepped], ids=named)
def test_derivatives_are_those_of_the_draw(function):
    x = normal(3, 8, dtype=torch.float64)
    assert torch.autograd.gradcheck(function, (x.requires_grad_(),), check_forward_ad=True)
    x = x.detach()
    torch.testing.assert_close(jacrev(function)(x), jacfwd(function)(x))


def test_slices_of_vmap_have_chains_of_their_own(device):
    x = normal(4, 3, 8, device=device)
    different = vmap(compressed, randomness="different")(x)
    assert_same_bits(different.flatten(0, 1), compressed(x.flatten(0, 1)))
    same = vmap(compressed, randomness="same")(x)
    assert_same_bits(same, torch.stack([compressed(s) for s in x]))
    gradients = vmap(grad(lambda s: compressed(s).sum()), randomness="different")(x)
    assert_same_bits(gradients.flatten(0, 1), compressed(torch.ones_like(x.flatten(0, 1))))
    for op in (compressed, lambda s: eff.drift(s, compressor=eff.RandomK(3), rng=KEY).drift):
        with pytest.raises(RuntimeError, match="expected randomness='different'"):
            vmap(op)(x)


def test_a_generator_draws_one_key_for_each_call():
    x = torch.ones(2, 50)
    generator = torch.Generator().manual_seed(1)
    one, other = (eff.RandomK(10).compress(x, rng=generator) for _ in range(2))
    assert not torch.equal(one, other)
    quiet = {"noise_std": 0.0, "rng": torch.Generator().manual_seed(1)}
    step = eff.langevin_step(0 * x, x, 2.0, compressor=eff.RandomK(10), **quiet)
    assert_same_bits(step, 0 * x - one)


def test_packed_in_values_and_indices(device):
    x = normal(5, 40, device=device)
    c = eff.RandomK(6).compress(x, rng=KEY)
    packed = eff.RandomK(6).pack(c)
    assert isinstance(packed, eff.PackedEntries)
    assert packed.values.shape == (5, 6)
    assert_same_bits(packed.unpack(), c)
    with pytest.raises(ValueError, match="compressed to 5 entries per chain, got more"):
        eff.RandomK(5).pack(c)


def test_compiled_and_checked(device):
    x = normal(3, 8, device=device)
    compiled = torch.compile(compressed, backend="aot_eager", fullgraph=True)
    assert_same_bits(compiled(x), compressed(x))
    key = torch.tensor([1, 2], device=device)
    arguments = (x, _C.COMPRESSORS["random_k"], 3, None, key)
    torch.library.opcheck(torch.ops.effebm.compress.default, arguments)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: eff.RandomK(), TypeError, "RandomK: expected either k or ratio"),
        (lambda: eff.RandomK(1, ratio=0.5), TypeError, "RandomK: expected either k or ratio"),
        (lambda: eff.RandomK(-1), ValueError, "k: expected at least 0, got -1"),
        (lambda: eff.RandomK(1, unbiased=1), TypeError, "unbiased: expected a bool, got int"),
        (lambda: eff.RandomK(6).compress(torch.ones(2, 5)), ValueError, "k: expected 0 <= k <= 5"),
        (
            lambda: torch.ops.effebm.compress(torch.ones(2, 5), _C.COMPRESSORS["random_k"], 3),
            RuntimeError,
            "key: expected a tensor, as the compressor draws",
        ),
        (lambda: parse_compressor("random-k:0"), ValueError, "k: expected 1 entry or more"),
        (lambda: parse_compressor("random-k"), ValueError, "'random-k': expected random-k:RATIO, "),
        (lambda: parse_compressor("random-k:3:b"), ValueError, "expected biased or nothing"),
        (lambda: parse_compressor("random_k:3"), ValueError, "compressor: expected none, topk"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_read_from_text():
    assert parse_compressor("random-k:16") == eff.RandomK(16)
    assert parse_compressor("random-k:0.1") == eff.RandomK(ratio=0.1)
    assert parse_compressor("random-k:0.1:biased") == eff.RandomK(ratio=0.1, unbiased=False)
