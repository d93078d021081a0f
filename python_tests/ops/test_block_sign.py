"""block_sign_compress, BlockSign and the order of summation."""

import functools
import math

import native
import numpy as np
import pytest
import torch
from helpers import (
    DTYPES,
    INF,
    NAN,
    READ_ONLY_LAYOUTS,
    SPECIAL,
    assert_same_bits,
    expected,
    normal,
    on,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import effebm_ext as eff
from effebm_ext import _C, reference
from effebm_ext.ops.block_sign import block_sign_compress_reference


@st.composite
def tensors_and_compressors(draw):
    shape = draw(
        st.lists(st.integers(0, 6), min_size=1, max_size=4)
        | st.tuples(st.integers(0, 3), st.sampled_from([1, 63, 64, 65, 1023, 1024, 1025, 2051]))
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    # A NaN or an infinity takes over its block: most rows must be without.
    values = draw(st.sampled_from([None, None, SPECIAL, SPECIAL[:6], SPECIAL[:10]]))
    if values is None:
        t = torch.randn(shape, generator=generator, dtype=torch.float64)
    else:
        t = values[torch.randint(len(values), shape, generator=generator)]
    layout = READ_ONLY_LAYOUTS[draw(st.sampled_from(sorted(READ_ONLY_LAYOUTS)))]
    dim = math.prod(shape[1:])
    # The reference loops over blocks in Python: no more than fifty of them.
    compressor = eff.BlockSign(draw(st.integers(max(1, dim // 50), 2 * dim + 2)))
    if dim > 0 and draw(st.booleans()):
        inner = draw(st.sets(st.integers(1, max(1, dim - 1)), max_size=20)) - {dim}
        compressor = eff.BlockSign(block_offsets=[0, *sorted(inner), dim])
    return layout(t.to(draw(st.sampled_from(DTYPES)))), compressor


@settings(max_examples=400, deadline=None)
@given(tensors_and_compressors())
def test_equals_the_reference_in_bits(device, drawn):
    x, compressor = drawn
    given = on(device, x)
    got = compressor.compress(given)
    assert_same_bits(got, expected(block_sign_compress_reference, x, compressor))
    assert got.is_contiguous()
    assert_same_bits(given, x)
    sizes = {"block_size": compressor.block_size, "block_offsets": compressor.block_offsets}
    assert_same_bits(eff.block_sign_compress(given, **sizes), got)


def test_blocks_that_span_chunks_and_sums_of_sums_equal_the_reference(device):
    # Beyond 1024 terms a sum is a sum of sums; beyond 1024 * 1024 a third level begins.
    x = normal(1, 2 * 1024 * 1024 + 1027)
    given = x.to(device)
    offsets = [0, 5, 2**20 + 7, 2**20 + 8, x.shape[1]]
    by_offsets = eff.BlockSign(block_offsets=offsets)
    assert_same_bits(
        by_offsets.compress(given), expected(block_sign_compress_reference, x, by_offsets)
    )
    for block_size in (2**62, 2**20, 2**20 + 1, 700_001):
        got = eff.block_sign_compress(given, block_size)
        assert_same_bits(got, expected(block_sign_compress_reference, x, eff.BlockSign(block_size)))


def test_a_short_last_block_is_scaled_by_its_own_length(device):
    x = torch.tensor([[1.0, -3.0, 2.0, 2.0, -8.0]], device=device)
    want = torch.tensor([[2.0, -2.0, 2.0, 2.0, -8.0]])
    assert_same_bits(eff.block_sign_compress(x, 2), want)


@pytest.mark.parametrize("block_size", [5, 6, 1000, 2**62])
def test_a_block_larger_than_a_row_is_the_row(device, block_size):
    x = torch.tensor([[1.0, -3.0, 2.0, 2.0, -2.0], [0.0, 0.0, 5.0, 0.0, -5.0]])
    want = torch.tensor([[2.0, -2.0, 2.0, 2.0, -2.0], [0.0, 0.0, 2.0, 0.0, -2.0]])
    assert_same_bits(eff.block_sign_compress(x.to(device), block_size), want)


def test_blocks_by_offsets_have_their_own_scales(device):
    x = torch.tensor([[1.0, -3.0, 2.0, 2.0, -8.0]], device=device)
    want = torch.tensor([[1.0, -7 / 3, 7 / 3, 7 / 3, -8.0]])
    assert_same_bits(eff.block_sign_compress(x, block_offsets=[0, 1, 4, 5]), want)
    sizes = torch.tensor([1, 3, 1])  # what layers give
    offsets = [0, *sizes.cumsum(0).tolist()]
    assert eff.BlockSign(block_offsets=offsets) == eff.BlockSign(block_offsets=(0, 1, 4, 5))


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_stay_zero_beside_infinity_and_nan(device, dtype):
    x = torch.tensor([[0.0, -0.0, INF, -1.0], [0.0, -0.0, NAN, -1.0]], dtype=dtype)
    want = torch.tensor([[0.0, 0.0, INF, -INF], [0.0, 0.0, NAN, NAN]], dtype=dtype)
    assert_same_bits(eff.block_sign_compress(x.to(device), 4), want)


def test_blocks_of_one_give_the_values_back(device):
    x = SPECIAL[None].float()
    assert_same_bits(eff.block_sign_compress(x.to(device), 1), torch.where(x == 0, 0.0, x))


def test_a_mean_of_denormals_is_a_denormal_also_where_the_caller_flushes_them(device):
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    torch.set_flush_denormal(False)
    for dtype in DTYPES:
        tiny = torch.finfo(dtype).smallest_normal
        x = torch.tensor([[tiny / 4, -tiny / 2, tiny / 8, 0.0, tiny, 1.0, -1.0]], dtype=dtype)
        want = expected(block_sign_compress_reference, x, eff.BlockSign(4))
        assert 0 < want[0, 0] < tiny
        x = x.to(device)
        torch.set_flush_denormal(True)
        try:
            got = eff.block_sign_compress(x, 4)
        finally:
            torch.set_flush_denormal(False)
        assert_same_bits(got, want)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 300), st.integers(1, 400), st.integers(0, 2**32), st.booleans())
def test_what_is_kept_and_what_is_lost_add_up(device, dim, block_size, seed, with_zeros):
    g = normal(5, dim, seed=seed, dtype=torch.float64, device=device)
    if with_zeros:
        g[:, ::3] = 0
    c = eff.block_sign_compress(g, block_size)
    kept, total, lost = (c**2).sum(1), (g**2).sum(1), ((g - c) ** 2).sum(1)
    bound = 1 - 1 / min(block_size, dim)
    assert bool((lost <= bound * total + 1e-12 * dim).all())
    if not with_zeros:  # a zero that stays zero has a sign of 0, and the identities lose terms
        torch.testing.assert_close((c * g).sum(1), kept)
        torch.testing.assert_close(lost, total - kept, rtol=0, atol=1e-12 * dim)


def test_large_gaussian_blocks_lose_one_minus_two_over_pi(device):
    g = normal(4, 2**18, seed=1, dtype=torch.float64, device=device)
    lost = ((g - eff.block_sign_compress(g, 2**16)) ** 2).sum() / (g**2).sum()
    # Standard error about 1 / sqrt(2^20).
    assert abs(lost.item() - (1 - 2 / math.pi)) < 4e-3


SUM_SIZES = [0, 1, 2, 3, 5, 1023, 1024, 1025, 2048, 5000, 2**20, 2**20 + 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SUM_SIZES)
def test_canonical_sum_equals_the_reference_in_bits(dtype, size):
    terms = np.random.default_rng(size).standard_normal(size).astype(dtype)
    want = reference.canonical_sum(torch.from_numpy(terms)).item()
    assert native.canonical_sum(terms) == want
    assert math.isclose(want, math.fsum(terms), rel_tol=1e-4, abs_tol=1e-3)


def test_a_sum_of_negative_zeros_is_positive_zero_at_every_size():
    for size in (1, 2, 3, 1024, 1025):
        terms = np.full(size, -0.0)
        assert math.copysign(1, native.canonical_sum(terms)) == 1
        assert math.copysign(1, reference.canonical_sum(torch.from_numpy(terms)).item()) == 1


def on_another_device(device):
    with torch._subclasses.FakeTensorMode():
        return torch.empty(2, 5, device=device)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (None, TypeError, "x: expected a tensor, got NoneType"),
        (on_another_device("cuda"), RuntimeError, "x is on cuda:0, but .* no CUDA kernels"),
        (on_another_device("mps"), RuntimeError, "x: expected a CPU or CUDA tensor, .* mps"),
    ],
    ids=["no tensor", "no kernels", "mps"],
)
@pytest.mark.usefixtures("without_cuda_kernels")
def test_what_is_on_no_device_with_kernels_is_refused(x, error, message):
    with pytest.raises(error, match=message):
        eff.block_sign_compress(x, 1)


X = torch.zeros(2, 5)
SIGNS = _C.COMPRESSORS["block_sign"]


@pytest.mark.parametrize(
    ("x", "block_size", "error", "message"),
    [
        (
            X.int(),
            1,
            TypeError,
            r"x: expected float32, float64, bfloat16 or float16, got torch\.int32",
        ),
        (torch.tensor(1.0), 1, ValueError, "expected shape .* got a tensor without axes"),
        (X, 0, ValueError, "block_size: expected at least 1, got 0"),
        (X, -4, ValueError, "block_size: expected at least 1, got -4"),
        (X, 2.0, TypeError, "block_size: expected an int, got float"),
        (X, True, TypeError, "block_size: expected an int, got bool"),
    ],
)
def test_what_block_sign_compress_refuses(device, x, block_size, error, message):
    x = x.to(device)
    with pytest.raises(error, match=message):
        eff.block_sign_compress(x, block_size)


@pytest.mark.parametrize(
    ("block_size", "error", "message"),
    [
        (0, ValueError, "block_size: expected at least 1, got 0"),
        (1.5, TypeError, "block_size: expected an int, got float"),
        (False, TypeError, "block_size: expected an int, got bool"),
        (None, TypeError, "expected either block_size or block_offsets, got None and None"),
    ],
)
def test_what_block_sign_refuses(block_size, error, message):
    with pytest.raises(error, match=message):
        eff.BlockSign(block_size)


@pytest.mark.parametrize(
    ("offsets", "error", "message"),
    [
        ([0.0, 5.0], TypeError, "block_offsets: expected integers, got"),
        (5, TypeError, "block_offsets: expected integers, got 5"),
        ([0], ValueError, "block_offsets: expected at least two, the first 0, got"),
        ([1, 5], ValueError, "block_offsets: expected at least two, the first 0, got"),
        ([0, 3, 3, 5], ValueError, "block_offsets: expected each to be above the one before"),
        ([0, 3, 6], ValueError, "block_offsets: expected the last to be 5, .* got 6"),
    ],
)
def test_which_offsets_are_refused(device, offsets, error, message):
    x = X.to(device)
    with pytest.raises(error, match=message):
        eff.block_sign_compress(x, block_offsets=offsets)
    with pytest.raises(TypeError, match="either block_size or block_offsets"):
        eff.BlockSign(2, block_offsets=offsets)


def test_the_op_itself_checks_too(device):
    op, x = functools.partial(torch.ops.effebm.compress, compressor=SIGNS), X.to(device)
    offsets = torch.tensor([0, 5], device=device)
    with pytest.raises(RuntimeError, match="block_size: expected at least 1, got 0"):
        op(x, compressor_size=0)
    with pytest.raises(RuntimeError, match="block_offsets: expected Long, got Int"):
        op(x, compressor_size=1, block_offsets=offsets.int())
    with pytest.raises(RuntimeError, match=r"block_offsets: expected int64 \(n_blocks \+ 1,\)"):
        op(x, compressor_size=1, block_offsets=offsets[:1])
    with pytest.raises(
        RuntimeError, match="expected float32, float64, bfloat16 or float16, got Int"
    ):
        op(x.int(), compressor_size=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5), (0, 4), (2, 3, 4)])
def test_opcheck(device, dtype, shape):
    x = torch.randn(shape, dtype=dtype, device=device)
    op = torch.ops.effebm.compress.default
    torch.library.opcheck(op, (x, SIGNS, 3))
    torch.library.opcheck(op, (x.transpose(0, -1), SIGNS, 100))
    offsets = torch.tensor([0, 1, x[0].numel() if len(x) else 4], device=device)
    torch.library.opcheck(op, (x, SIGNS, 1, offsets))
