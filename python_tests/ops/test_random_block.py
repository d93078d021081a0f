"""RandomBlock: which entries are kept, which a step moves, and what it leaves alone."""

import pytest
import torch
from helpers import DTYPES, LAYOUTS, assert_same_bits, named, normal
from scipy import stats
from torch.func import jacfwd, jacrev, vmap

import effebm_ext as eff
from effebm_ext import _C
from effebm_ext.ops.checks import compute_dtype
from effebm_ext.ops.langevin_step import langevin_step_reference
from effebm_ext.runs.options.parsing import parse_compressor

KEY = eff.Key(-5, offset=3, first_chain=9)
NAMES = {"seed": KEY.seed, "offset": KEY.offset, "first_chain": KEY.first_chain}
DIMS = [1, 3, 5, 64, 1025, 3000]


def kept(compressor, x, key=KEY):
    return compressor.compress(torch.ones_like(x), rng=key) != 0


def sizes(dim):
    return sorted({0, 1, dim // 3, dim - 1, dim})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", DIMS)
def test_compression_is_that_of_the_reference(device, dtype, dim):
    x = normal(40, dim, dtype=dtype, device=device)
    for k in sizes(dim):
        compressor = eff.RandomBlock(k)
        reference = compressor.reference(x.cpu(), *NAMES.values())
        assert_same_bits(compressor.compress(x, rng=KEY), reference)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", DIMS)
def test_a_step_in_place_is_that_of_the_reference(device, dtype, dim):
    x, grad = (normal(40, dim, seed=seed, dtype=dtype) for seed in (0, 1))
    options = {"clip": eff.ClipNorm(2.0), "bounds": (-0.8, 0.9)}
    for k, chosen in [(k, o) for k in sizes(dim) for o in ({}, options)]:
        compressor = eff.RandomBlock(k)
        want, _ = langevin_step_reference(x, grad, 0.3, compressor=compressor, **chosen, **NAMES)
        got, g = x.to(device, copy=True), grad.to(device)
        eff.langevin_step_(got, g, 0.3, compressor=compressor, rng=KEY, **chosen)
        if dtype == torch.float64:
            torch.testing.assert_close(got.cpu(), want, rtol=1e-14, atol=1e-14)
        else:
            assert_same_bits(got, want)
        new = eff.langevin_step(x.to(device), g, 0.3, compressor=compressor, rng=KEY, **chosen)
        assert_same_bits(new, got)


@pytest.mark.parametrize("dtype", DTYPES)
def test_entries_outside_of_the_block_keep_their_bits(device, dtype):
    """Whatever they hold, and whatever is done to the others."""
    x = normal(30, 33, dtype=dtype, device=device)
    x[:, ::5], x[:, 1::5], x[:, 2::5] = -0.0, torch.nan, 7.0
    compressor = eff.RandomBlock(9)
    outside = ~kept(compressor, x)
    for options in ({"bounds": (-1, 1)}, {"stochastic_rounding": x.element_size() == 2}):
        state = eff.langevin_step(x, x, 0.5, compressor=compressor, rng=KEY, **options)
        assert_same_bits(state[outside], x[outside])
        assert (state != x)[~outside].float().mean() > 0.3


def test_blocks_are_neighbours_and_start_anywhere():
    n, dim, k = 30_000, 12, 5
    inside = kept(eff.RandomBlock(k), torch.ones(n, dim)).int()
    assert (inside.sum(1) == k).all()
    starts = (inside - inside.roll(1, 1)).clamp(min=0)
    assert (starts.sum(1) == 1).all()
    assert stats.chisquare(starts.sum(0).numpy()).pvalue > 1e-4


def test_chains_and_steps_have_blocks_of_their_own():
    x, compressor = torch.ones(6, 400), eff.RandomBlock(40)
    masks = torch.cat([kept(compressor, x, eff.Key(1).at(step)) for step in range(3)])
    assert len(masks.unique(dim=0)) == len(masks)
    part = compressor.compress(x[2:], rng=eff.Key(1, first_chain=2))
    assert_same_bits(part, compressor.compress(x, rng=eff.Key(1))[2:])


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_rows_of_any_strides(device, layout):
    x, grad = (normal(4, 6, 5, seed=seed, device=device) for seed in (0, 1))
    options = {"compressor": eff.RandomBlock(ratio=0.3), "rng": KEY}
    want = eff.langevin_step(x, grad, 0.2, **options)
    state = LAYOUTS[layout](x)
    assert_same_bits(eff.langevin_step_(state, LAYOUTS[layout](grad), 0.2, **options), want)


def test_a_transition_reports_the_sums_over_the_block(device):
    x, grad = (normal(5, 30, seed=seed, device=device) for seed in (0, 1))
    compressor = eff.RandomBlock(7)
    got = eff.langevin_transition(x, grad, 0.3, compressor=compressor, rng=KEY)
    c = compressor.compress(grad, rng=KEY)
    assert_same_bits(got.drift, c)
    assert_same_bits(got.x, eff.langevin_step(x, grad, 0.3, compressor=compressor, rng=KEY))
    torch.testing.assert_close(got.drift_dot_delta, (c * (got.x - x)).sum(1))
    torch.testing.assert_close(got.drift_sq, c.square().sum(1))
    back = eff.drift(grad, compressor=compressor, delta=got.x - x, rng=KEY)
    assert_same_bits(back.drift_dot_delta, got.drift_dot_delta)


def stepped(x):
    return eff.langevin_step(
        x, 2 * x, 0.3, compressor=eff.RandomBlock(3), clip=eff.ClipNorm(2.0), bounds=(-0.5, 0.5),
        rng=KEY,
    )  # fmt: skip


def compressed(x):
    return eff.RandomBlock(3).compress(x, rng=KEY)


@pytest.mark.parametrize("function", [compressed, stepped], ids=named)
def test_derivatives_are_those_of_the_draw(function):
    x = normal(3, 8, dtype=torch.float64)
    assert torch.autograd.gradcheck(function, (x.requires_grad_(),), check_forward_ad=True)
    x = x.detach()
    torch.testing.assert_close(jacrev(function)(x), jacfwd(function)(x))


def test_what_rests_beyond_the_bounds_has_derivative_one():
    x = torch.full((1, 8), 3.0, dtype=torch.float64, requires_grad=True)
    stepped(x).sum().backward()
    assert sorted(x.grad[0].tolist()) == [0.0] * 3 + [1.0] * 5


@pytest.mark.parametrize("function", [compressed, stepped], ids=named)
def test_vmap_numbers_the_chains_on(device, function):
    x = normal(4, 3, 8, device=device)
    different = vmap(function, randomness="different")(x)
    assert_same_bits(different.flatten(0, 1), function(x.flatten(0, 1)))
    same = vmap(function, randomness="same")(x)
    assert_same_bits(same, torch.stack([function(s) for s in x]))


@pytest.mark.parametrize("function", [compressed, stepped], ids=named)
def test_compiled(device, function):
    x = normal(3, 8, device=device)
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    assert_same_bits(compiled(x), function(x))


@pytest.mark.parametrize("dim", [1, 40, 1025])
def test_packed_without_indices(device, dim):
    x = normal(20, dim, device=device)
    for k in sizes(dim):
        compressor = eff.RandomBlock(k)
        c = compressor.compress(x, rng=KEY)
        packed = compressor.pack(c)
        assert_same_bits(packed.unpack(), c)
        assert packed.nbytes == 20 * (4 * k + 8)
    rows = torch.tensor([3, 0])
    part = packed.take(rows)
    assert_same_bits(part.unpack(), c[rows])
    assert_same_bits(packed.put(rows, part).unpack(), c)


def test_packing_keeps_negative_zeros_and_nan(device):
    c = torch.tensor([[-0.0, 1, 0, 0, torch.nan], [0, 0, -0.0, 0, 0.0]], device=device)
    assert_same_bits(eff.RandomBlock(3).pack(c).unpack(), c)
    with pytest.raises(ValueError, match="compressed to a block of 2 entries per chain"):
        eff.RandomBlock(2).pack(c)
    assert eff.RandomBlock(2).pack(c[:0]).unpack().shape == (0, 5)


BLOCK = {"compressor": eff.RandomBlock(3)}
X = torch.ones(2, 5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: eff.RandomBlock(), TypeError, "RandomBlock: expected either k or ratio"),
        (lambda: eff.RandomBlock(6).compress(X), ValueError, "k: expected 0 <= k <= 5"),
        (lambda: eff.RandomBlock(3).pack(X.half()), TypeError, "c: expected float32 or float64"),
        (
            lambda: eff.langevin_step_(X, X, 0.1, residual=0 * X, **BLOCK),
            ValueError,
            "residual: expected a compressor whose steps move all entries",
        ),
        (
            lambda: eff.langevin_step_(X, X, 0.1, averaged_noise=True, rng=KEY, **BLOCK),
            ValueError,
            "averaged_noise: expected a compressor whose steps move all entries",
        ),
        (
            lambda: eff.Langevin(torch.sum, step_size=0.1, error_feedback=True, **BLOCK),
            ValueError,
            "error_feedback: expected a compressor whose steps move all entries",
        ),
        (
            lambda: eff.Langevin(torch.sum, step_size=0.1, averaged_noise=True, **BLOCK),
            ValueError,
            "averaged_noise: expected a compressor whose steps move all entries",
        ),
        (
            lambda: torch.ops.effebm.compress(X, _C.COMPRESSORS["random_block"], 3),
            RuntimeError,
            "key: expected a tensor, as the compressor draws",
        ),
        (lambda: parse_compressor("random-block:0"), ValueError, "k: expected 1 entry or more"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_read_from_text():
    assert parse_compressor("random-block:16") == eff.RandomBlock(16)
    assert parse_compressor("random-block:0.1") == eff.RandomBlock(ratio=0.1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_rows_and_several_threads_give_the_same_bits(dtype):
    x, grad = (normal(3, 40_000, seed=seed, dtype=dtype) for seed in (0, 1))
    compressor = eff.RandomBlock(ratio=0.4)
    states = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        state = x.clone()
        eff.langevin_step_(state, grad, 0.3, compressor=compressor, rng=KEY)
        states.append(state)
    torch.set_num_threads(1)
    assert_same_bits(*states)
    moved = (states[0] != x).float().mean()
    assert moved == pytest.approx(0.4, abs=0.08 if compute_dtype(dtype) != dtype else 1e-3)
