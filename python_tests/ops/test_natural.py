"""NaturalCompression: the neighbours, the mean and the variance of random rounding."""

import math

import pytest
import torch
from helpers import DTYPES, INF, LAYOUTS, NAN, SPECIAL, assert_same_bits, named, normal
from torch.func import jacfwd, jacrev, vmap

import effebm_ext as eff
from effebm_ext import _C
from effebm_ext.runs.options.parsing import parse_compressor

KEY = eff.Key(-5, offset=3, first_chain=9)
MANY = 40_000


def reference(compressor, x, key=KEY):
    return compressor.reference(x.cpu(), key.seed, key.offset, key.first_chain)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [0, 3, 20, 22])
@pytest.mark.parametrize("dim", [1, 5, 64, 1030])
def test_the_numbers_are_those_of_the_reference(device, dtype, bits, dim):
    compressor = eff.NaturalCompression(bits)
    special = SPECIAL.repeat(1 + dim // len(SPECIAL))[:dim].to(dtype)
    x = torch.cat([normal(5, dim, dtype=dtype), special[None]]).to(device)
    assert_same_bits(compressor.compress(x, rng=KEY), reference(compressor, x))


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_rows_of_any_strides(device, layout):
    x = LAYOUTS[layout](normal(4, 6, 5, device=device))
    compressor = eff.NaturalCompression()
    assert_same_bits(compressor.compress(x, rng=KEY), reference(compressor, x))


def neighbours(u, bits):
    spacing = 2.0 ** (math.floor(math.log2(abs(u))) - bits)
    low = math.floor(abs(u) / spacing) * spacing
    return low, low + spacing


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", [0, 2, 7])
def test_mean_and_variance_are_those_of_the_closed_form(dtype, bits):
    """An entry goes to one of its neighbours; the variance is r (s - r)."""
    u = torch.tensor([1.3, -0.37, 5.9, 1e-3, -1.99, 2.6e-30], dtype=dtype)
    c = eff.NaturalCompression(bits).compress(u.expand(MANY, 6), rng=KEY).double()
    for i, value in enumerate(u.double().tolist()):
        low, high = neighbours(value, bits)
        assert set(c[:, i].abs().unique().tolist()) == {low, high}
        assert (c[:, i].sign() == math.copysign(1, value)).all()
        variance = (abs(value) - low) * (high - abs(value))
        assert (c[:, i].mean() - value).abs() < 4.5 * (variance / MANY) ** 0.5
        assert c[:, i].var().item() == pytest.approx(variance, rel=0.05)


def test_powers_of_two_lose_at_most_an_eighth_of_the_square():
    u = 2 ** torch.linspace(-3, 3, 1000, dtype=torch.float64)
    low = 2 ** u.log2().floor()
    assert ((u - low) * (2 * low - u) / u**2).max() <= 1 / 8
    c = eff.NaturalCompression().compress(u.expand(500, 1000), rng=KEY)
    lost = (c - u).square().sum(1).mean() / u.square().sum()
    assert 0.05 < lost < 1 / 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_needs_no_rounding_stays(device, dtype):
    limits = torch.finfo(dtype)
    u = [0.0, -0.0, INF, -INF, 1.0, -2.0, 0.75, limits.smallest_normal, 1.5 * 2.0**100]
    u = torch.tensor(u, dtype=dtype, device=device).repeat(300, 1)
    assert_same_bits(eff.NaturalCompression(1).compress(u, rng=KEY), u)
    nan = torch.tensor([[NAN, -NAN]], dtype=dtype, device=device)
    assert_same_bits(eff.NaturalCompression().compress(nan, rng=KEY), nan.abs())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_largest_numbers_stay_finite(device, dtype):
    most = torch.finfo(dtype).max
    u = torch.full((300, 2), most, dtype=dtype, device=device)
    c = eff.NaturalCompression(1).compress(u, rng=KEY)
    assert (c == math.ldexp(1.5, math.frexp(most)[1] - 1)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_denormals_keep_their_mean(device, dtype):
    tiny = torch.finfo(dtype).smallest_normal
    u = torch.full((MANY, 1), 0.3 * tiny, dtype=dtype, device=device)
    c = eff.NaturalCompression(0).compress(u, rng=KEY)
    assert set((c / tiny).unique().tolist()) == {0.0, 1.0}
    assert (c / tiny).double().mean().item() == pytest.approx(0.3, abs=0.01)


def test_a_step_is_the_step_along_what_is_rounded(device):
    compressor = eff.NaturalCompression()
    x, g = (normal(3, 10, seed=seed, device=device) for seed in (0, 1))
    residual = normal(3, 10, seed=2, device=device)
    u = g + residual
    c = compressor.compress(u, rng=KEY)
    got = eff.langevin_transition(x, g, 0.3, compressor=compressor, residual=residual, rng=KEY)
    assert_same_bits(got.drift, c)
    assert_same_bits(got.x, eff.langevin_step(x, c, 0.3, rng=KEY))
    assert_same_bits(residual, u - c)


def rounded(x):
    return eff.NaturalCompression(2).compress(x, rng=KEY)


def stepped(x):
    return eff.langevin_step(x, 2 * x, 0.3, compressor=eff.NaturalCompression(), rng=KEY)


@pytest.mark.parametrize(("function", "slope"), [(rounded, 1.0), (stepped, 0.7)], ids=named)
def test_the_derivative_is_that_of_the_mean(function, slope):
    x = normal(3, 4)
    want = slope * torch.eye(12).reshape(3, 4, 3, 4)
    torch.testing.assert_close(jacrev(function)(x), want)
    torch.testing.assert_close(jacfwd(function)(x), want)


def test_slices_of_vmap_have_chains_of_their_own(device):
    x = normal(4, 3, 8, device=device)
    different = vmap(rounded, randomness="different")(x)
    assert_same_bits(different.flatten(0, 1), rounded(x.flatten(0, 1)))


@pytest.mark.parametrize(
    ("dtype", "bits", "size"),
    [(torch.float32, 0, 2), (torch.float32, 7, 2), (torch.float32, 8, 4), (torch.float64, 4, 2),
     (torch.float64, 5, 4), (torch.float64, 20, 4), (torch.float64, 21, 8)],
)  # fmt: skip
def test_packed_by_the_upper_bits(device, dtype, bits, size):
    compressor = eff.NaturalCompression(bits)
    special = torch.tensor([[NAN, INF, -0.0, -INF, 0.0, 1e-42, -1.0]])
    x = torch.cat([normal(5, 7), special]).to(device, dtype)
    c = compressor.compress(x, rng=KEY).reshape(6, 7, 1)
    packed = compressor.pack(c)
    assert packed.bits.element_size() == size
    assert packed.nbytes == 6 * 7 * size
    assert_same_bits(packed.unpack(), c)
    rows = torch.tensor([4, 0], device=device)
    assert_same_bits(packed.take(rows).unpack(), c[rows])
    other = compressor.pack(c[:2].neg())
    want = c.clone()
    want[rows] = c[:2].neg()
    assert_same_bits(packed.put(rows, other).unpack(), want)


def test_more_bits_than_are_kept_are_not_packed():
    c = eff.NaturalCompression(3).compress(normal(5, 40), rng=KEY)
    with pytest.raises(ValueError, match="2 bits of mantissa, got more"):
        eff.NaturalCompression(2).pack(c)
    with pytest.raises(TypeError, match="c: expected float32 or float64"):
        eff.NaturalCompression(3).pack(c.bfloat16())


def test_compiled_and_checked(device):
    x = normal(3, 8, device=device)
    compiled = torch.compile(rounded, backend="aot_eager", fullgraph=True)
    assert_same_bits(compiled(x), rounded(x))
    key = torch.tensor([1, 2], device=device)
    arguments = (x, _C.COMPRESSORS["natural"], 3, None, key)
    torch.library.opcheck(torch.ops.effebm.compress.default, arguments)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: eff.NaturalCompression(-1), ValueError, "mantissa_bits: expected 0 to 22, got -1"),
        (lambda: eff.NaturalCompression(23), ValueError, "mantissa_bits: expected 0 to 22, got 23"),
        (lambda: eff.NaturalCompression(1.0), TypeError, "mantissa_bits"),
        (lambda: parse_compressor("natural:x"), ValueError, "'natural:x': expected natural, nat"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_read_from_text():
    assert parse_compressor("natural") == eff.NaturalCompression()
    assert parse_compressor("natural:3") == eff.NaturalCompression(3)
