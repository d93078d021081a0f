"""Random words, normals and keys."""

import math
from fractions import Fraction

import native
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import effebm_ext as eff
from effebm_ext import reference
from effebm_ext.rng import generator_for

# Counter, key and output of the known-answer file that accompanies the Philox paper.
PHILOX_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), PHILOX_ANSWERS)
def test_philox_gives_the_known_answers(counter, key, answer):
    words = native.philox4x32_10(np.array([counter], dtype=np.uint32), key)
    assert tuple(words[0]) == answer
    assert tuple(reference.philox4x32_10(torch.tensor(counter), *key).tolist()) == answer


def test_bound_arrays_of_a_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"counter: expected shape \(n, 4\)"):
        native.philox4x32_10(np.zeros((2, 3), dtype=np.uint32), (0, 0))
    with pytest.raises(ValueError, match=r"words: expected shape \(n, 2\)"):
        native.box_muller(np.zeros(4, dtype=np.uint32))
    with pytest.raises(ValueError, match="expected at least 0"):
        native.normals(-1, 3, 0)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(0, 3),
    dim=st.integers(0, 70),
    seed=st.integers(-(2**63), 2**63 - 1),
    offset=st.integers(0, 2**56 - 1),
    first_chain=st.integers(0, 2**32 - 4),
)
def test_normals_equal_the_reference_in_bits(rows, dim, seed, offset, first_chain):
    got = native.normals(rows, dim, seed, offset, first_chain)
    want = reference.normals(rows, dim, seed, offset, first_chain).numpy()
    assert np.array_equal(got.view(np.uint32), want.view(np.uint32))


@pytest.mark.parametrize("offset", [0, 2**32 - 1, 2**32, 2**32 + 1, 2**56 - 1])
@pytest.mark.parametrize("first_chain", [0, 2**32 - 3])
def test_normals_equal_the_reference_where_the_counter_carries(offset, first_chain):
    got = native.normals(3, 1027, -1, offset, first_chain)
    want = reference.normals(3, 1027, -1, offset, first_chain).numpy()
    assert np.array_equal(got.view(np.uint32), want.view(np.uint32))


def exact_box_muller(radius_word, angle_word):
    """In float64, with the complement of the uniform and the octant of the angle taken exactly."""
    n = radius_word.astype(np.float64)
    above = 2.0**32 - n - 0.5
    log = np.where(n > 2.0**31, np.log1p(-above / 2.0**32), np.log((n + 0.5) / 2.0**32))
    quarter = (angle_word.astype(np.int64) + 2**29) >> 30
    rest = (angle_word.astype(np.int64) - quarter * 2**30) * (math.pi / 2.0**31)
    cosine, sine = np.cos(rest), np.sin(rest)
    turns = [(cosine, sine), (-sine, cosine), (-cosine, -sine), (sine, -cosine)]
    radius = np.sqrt(-2.0 * log)
    pick = [quarter % 4 == i for i in range(4)]
    return np.stack([radius * np.select(pick, part) for part in zip(*turns, strict=True)], axis=1)


def near(*centres, reach=3000):
    words = np.concatenate([np.arange(c - reach, c + reach) for c in centres])
    return words[(words >= 0) & (words < 2**32)].astype(np.uint32)


RANDOM_WORDS = np.random.default_rng(0).integers(0, 2**32, (2, 500_000), dtype=np.uint32)
EDGE_RADII = near(0, 2**31, 0xB504F400, 2**32, *(2**i for i in range(12, 31)))
EDGE_ANGLES = near(*(i * 2**29 for i in range(9)))


@pytest.mark.parametrize("edges", ["radius", "angle", "none"])
def test_normals_are_within_four_ulp_of_float64(edges):
    radius, angle = RANDOM_WORDS
    radius = EDGE_RADII if edges == "radius" else radius
    angle = EDGE_ANGLES if edges == "angle" else angle
    n = min(len(radius), len(angle))
    words = np.stack([radius[:n], angle[:n]], axis=1)
    exact = exact_box_muller(words[:, 0], words[:, 1])
    error = np.abs(native.box_muller(words) - exact)
    assert np.all(error <= 4 * np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64))


def test_the_largest_normal_is_where_the_documentation_says():
    largest = native.box_muller(np.array([[0, 0]], dtype=np.uint32))[0, 0]
    assert 6.76 < largest < 6.77


def test_moments_are_those_of_a_standard_normal():
    v = native.normals(4, 2**20, 2024).astype(np.float64)
    # The variance of v^m is E[v^2m] - E[v^m]^2, with E[v^2m] = (2m - 1)!!
    for power, mean, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        standard_error = math.sqrt(variance / v.size)
        assert abs(np.mean(v**power) - mean) < 4 * standard_error, power


@pytest.mark.parametrize("seed", [0, 1, -7])
def test_normals_pass_kolmogorov_smirnov(seed):
    assert stats.kstest(native.normals(1, 200_000, seed)[0], "norm").pvalue > 1e-3


def test_tails_are_as_heavy_as_they_should_be():
    x = torch.zeros(16, 2**20)
    eff.langevin_step_(x, torch.zeros_like(x), 0, noise_std=1, rng=eff.Key(11))
    for sigma in (3, 4, 5):
        for side in (x, -x):
            expected = x.numel() * stats.norm.sf(sigma)
            assert abs(int((side > sigma).sum()) - expected) < 4 * math.sqrt(expected), sigma


def test_neighbours_chains_offsets_and_seeds_are_not_correlated():
    v = native.normals(2, 2**19, 5)[:, :-8].astype(np.float64)
    full = native.normals(2, 2**19, 5).astype(np.float64)
    others = {f"lag {lag}": full[0, lag : lag - 8] for lag in (1, 2, 3, 4, 5)}
    others["chain"] = v[1]
    others["offset"] = native.normals(1, 2**19, 5, 1)[0, :-8]
    others["high offset"] = native.normals(1, 2**19, 5, 2**32)[0, :-8]
    others["seed"] = native.normals(1, 2**19, 6)[0, :-8]
    others["high seed"] = native.normals(1, 2**19, 5 + 2**32)[0, :-8]
    for name, other in others.items():
        assert abs(np.corrcoef(v[0], other)[0, 1]) < 4 / math.sqrt(v.shape[1]), name
        # The two normals of a pair share a radius: uncorrelated values could hide equal sizes.
        assert abs(np.corrcoef(v[0] ** 2, other**2)[0, 1]) < 4 / math.sqrt(v.shape[1]), name


X = torch.zeros(4, 9)


def noise(rng, rows=4):
    return eff.langevin_step(X[:rows], X[:rows], 0, noise_std=1, rng=rng)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"seed": 1.0}, TypeError, "seed: expected an int, got float"),
        ({"seed": True}, TypeError, "seed: expected an int, got bool"),
        ({"seed": 2**64}, ValueError, "seed: expected"),
        ({"seed": -(2**63) - 1}, ValueError, "seed: expected"),
        ({"seed": 0, "offset": -1}, ValueError, "offset: expected 0 <= offset"),
        ({"seed": 0, "offset": 2**56}, ValueError, "offset: expected 0 <= offset"),
        ({"seed": 0, "offset": None}, TypeError, "offset: expected an int, got NoneType"),
        ({"seed": 0, "first_chain": -1}, ValueError, "first_chain: expected 0 <= first_chain"),
        ({"seed": 0, "first_chain": 2**32}, ValueError, "first_chain: expected 0 <= first_chain"),
        ({"seed": 0, "first_chain": "0"}, TypeError, "first_chain: expected an int, got str"),
    ],
)
def test_keys_out_of_range_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        eff.Key(**arguments)


def test_at_moves_along_the_stream():
    key = eff.Key(3, offset=10, first_chain=2)
    assert key.at(5) == eff.Key(3, offset=15, first_chain=2)
    assert key.at(-10).offset == 0
    with pytest.raises(ValueError, match="offset: expected"):
        key.at(-11)
    with pytest.raises(ValueError, match="offset: expected"):
        eff.Key(0, 2**56 - 1).at(1)
    assert torch.equal(noise(key.at(5)), reference.normals(4, 9, 3, 15, 2))
    assert not torch.equal(noise(key), noise(key.at(1)))


@pytest.mark.parametrize("seed", [-1, -(2**63), -12345])
def test_a_seed_is_the_same_signed_or_unsigned(seed):
    assert torch.equal(noise(eff.Key(seed)), noise(eff.Key(seed + 2**64)))
    assert torch.equal(noise(eff.Key(seed)), reference.normals(4, 9, seed))


def test_no_rng_follows_the_global_seed():
    torch.manual_seed(7)
    first, second = noise(None), noise(None)
    torch.manual_seed(7)
    assert torch.equal(noise(None), first)
    assert not torch.equal(first, second)


def test_a_generator_is_reproducible_and_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(7)
    first, second = noise(generator), noise(generator)
    assert torch.equal(noise(torch.Generator().manual_seed(7)), first)
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rng", [0, "seed", torch.tensor(0), np.random.default_rng(0)])
def test_other_rngs_are_refused(rng):
    with pytest.raises(TypeError, match=r"rng: expected a Key, a torch\.Generator or None, got"):
        noise(rng)


def test_a_key_outlives_a_trace_with_fake_tensors():
    # What a tracer makes must not end up in the cache of seeds that real calls use.
    key = eff.Key(0x5EED)
    with torch._subclasses.FakeTensorMode():
        fake = torch.empty(4, 9)
        eff.langevin_step(fake, fake, 0.1, rng=key)
    assert torch.equal(noise(key), reference.normals(4, 9, key.seed))


def to_float32(exact):
    """The nearest float32, ties to even, of a Fraction."""
    if exact == 0:
        return 0.0
    exponent = abs(exact.numerator).bit_length() - exact.denominator.bit_length()
    if abs(exact) < Fraction(2) ** exponent:
        exponent -= 1
    quantum = Fraction(2) ** max(exponent - 23, -149)
    rounded = round(exact / quantum) * quantum
    return math.copysign(math.inf, exact) if abs(rounded) >= 2**128 else float(rounded)


FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
# Few mantissa bits make products of few bits, where sums are ties or miss one by a hair.
SPARSE = st.builds(
    lambda mantissa, low, exponent: (mantissa + low * 2.0**-12) * 2.0**exponent,
    st.integers(-8, 8),
    st.sampled_from([-1, 0, 1]),
    st.integers(-60, 60),
)


@settings(max_examples=1000, deadline=None)
@given(st.tuples(FLOAT32 | SPARSE, FLOAT32 | SPARSE, FLOAT32 | SPARSE))
def test_reference_fma_rounds_once(operands):
    a, b, c = (torch.tensor([v], dtype=torch.float32) for v in operands)
    exact = Fraction(a.item()) * Fraction(b.item()) + Fraction(c.item())
    assert reference.fma(a, b, c).item() == to_float32(exact)


@settings(max_examples=500, deadline=None)
@given(st.tuples(*[st.floats(-1e100, 1e100, allow_subnormal=False)] * 3))
def test_reference_fma_of_float64_is_within_an_ulp(operands):
    # Where the product underflows its error cannot be represented, and the promise ends.
    a, b, c = (0.0 if abs(v) < 1e-100 else v for v in operands)
    got = reference.fma(*(torch.tensor([v], dtype=torch.float64) for v in (a, b, c))).item()
    exact = float(Fraction(a) * Fraction(b) + Fraction(c))
    assert abs(got - exact) <= math.ulp(exact)


def test_generators_for_different_purposes_share_no_numbers():
    def draw(purpose, seed):
        return torch.rand(4, generator=generator_for(purpose, seed))

    assert torch.equal(draw("a", 1), draw("a", 1))
    assert not torch.equal(draw("a", 1), draw("a", 2))
    assert not torch.equal(draw("a", 1), draw("b", 1))
    assert not torch.equal(draw("a", 1), torch.rand(4, generator=torch.Generator().manual_seed(1)))
