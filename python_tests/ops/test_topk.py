"""topk_compress, TopK and the text form of compressors."""

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
from effebm_ext import _C
from effebm_ext.ops.topk import topk_compress_reference
from effebm_ext.runs.options.parsing import parse_compressor

TIES = torch.tensor([-2.0, -1.0, -0.0, 0.0, 1.0, 2.0], dtype=torch.float64)


@st.composite
def tensors(draw):
    shape = draw(
        st.lists(st.integers(0, 6), min_size=1, max_size=4)
        | st.tuples(st.integers(0, 3), st.sampled_from([1, 63, 64, 65, 1023, 1024, 1025, 2051]))
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    values = draw(st.sampled_from([None, TIES, SPECIAL]))
    if values is None:
        t = torch.randn(shape, generator=generator, dtype=torch.float64)
    else:
        t = values[torch.randint(len(values), shape, generator=generator)]
    layout = READ_ONLY_LAYOUTS[draw(st.sampled_from(sorted(READ_ONLY_LAYOUTS)))]
    return layout(t.to(draw(st.sampled_from(DTYPES))))


@settings(max_examples=400, deadline=None)
@given(tensors(), st.floats(0, 1))
def test_equals_the_reference_in_bits(device, x, fraction):
    k, given = round(fraction * math.prod(x.shape[1:])), on(device, x)
    got = eff.topk_compress(given, k)
    assert_same_bits(got, expected(topk_compress_reference, x, k))
    assert got.is_contiguous()
    assert_same_bits(given, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", range(1, 7))
def test_every_tie_pattern_keeps_exactly_k_the_first_of_equals(kernels, device, dtype, length):
    # Zero is written as -0, so that a kept zero differs from the +0 of an entry that is dropped.
    alphabet = torch.tensor([-1.0, -0.0, 1.0, 2.0], dtype=dtype)
    rows = torch.cartesian_prod(*[alphabet] * length).reshape(-1, length)
    if kernels == "emulated cuda":  # which takes a millisecond per row
        rows = rows[:: max(1, len(rows) // 200)]
    size, other = rows.abs()[:, :, None], rows.abs()[:, None, :]
    earlier = torch.arange(length)[None, :] < torch.arange(length)[:, None]
    rank = ((other > size) | ((other == size) & earlier)).sum(dim=2)
    for k in range(length + 1):
        got = eff.topk_compress(rows.to(device), k).cpu()
        assert_same_bits(got, torch.where(rank < k, rows, 0.0))
        kept = (got != 0) | got.signbit()
        assert bool((kept.sum(dim=1) == k).all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_ranks_above_infinity_and_denormals_count(device, dtype):
    tiny = torch.finfo(dtype).smallest_normal / 4
    x = torch.tensor([[1.0, INF, tiny, NAN, -0.0, -INF, -tiny, -NAN]], dtype=dtype)
    kept = [[], [3], [3, 7], [1, 3, 7], [1, 3, 5, 7], [0, 1, 3, 5, 7], [0, 1, 2, 3, 5, 7]]
    for k, positions in enumerate(kept):
        mask = torch.zeros_like(x, dtype=torch.bool)
        mask[0, positions] = True
        assert_same_bits(eff.topk_compress(x.to(device), k), torch.where(mask, x, 0.0))


@pytest.mark.parametrize(("dtype", "integer"), [(np.float32, np.uint32), (np.float64, np.uint64)])
def test_order_keys_order_magnitudes(dtype, integer):
    tiny = np.finfo(dtype).smallest_subnormal
    ascending = np.array([0, tiny, np.finfo(dtype).tiny, 1, 2, np.finfo(dtype).max, INF, NAN])
    keys = native.order_keys(ascending.astype(dtype))
    assert keys.dtype == integer
    assert np.all(keys[:-1] < keys[1:])
    assert np.array_equal(native.order_keys(-ascending.astype(dtype)), keys)
    payload = np.array([np.iinfo(integer).max], dtype=integer).view(dtype)
    assert native.order_keys(payload)[0] == keys[-1]


def test_denormals_count_where_the_caller_flushes_them(device):
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    torch.set_flush_denormal(False)
    x = SPECIAL[torch.arange(3 * 50).reshape(3, 50) * 7 % 15]
    for dtype in DTYPES:
        rows = x.to(dtype)
        want, rows = topk_compress_reference(rows, 38), rows.to(device)
        torch.set_flush_denormal(True)
        try:
            got = eff.topk_compress(rows, 38)
        finally:
            torch.set_flush_denormal(False)
        assert_same_bits(got, want)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**32), st.floats(0, 1))
def test_what_is_kept_and_what_is_lost_add_up(device, dim, seed, fraction):
    g = normal(5, dim, seed=seed, dtype=torch.float64, device=device)
    k = round(fraction * dim)
    c = eff.topk_compress(g, k)
    kept, total, lost = (c**2).sum(1), (g**2).sum(1), ((g - c) ** 2).sum(1)
    torch.testing.assert_close((c * g).sum(1), kept)
    torch.testing.assert_close(lost, total - kept, rtol=0, atol=1e-12 * dim)
    assert bool((lost <= (1 - k / dim) * total + 1e-12 * dim).all())


@pytest.mark.parametrize("dim", [1, 2, 3, 10, 64, 1000])
@pytest.mark.parametrize("ratio", [1e-9, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0])
def test_a_ratio_rounds_half_up_and_keeps_at_least_one(device, dim, ratio):
    k = max(1, int(ratio * dim) + (ratio * dim % 1 >= 0.5))
    assert eff.TopK(ratio=ratio).entries(dim) == k
    x = normal(2, dim, device=device)
    assert_same_bits(eff.TopK(ratio=ratio).compress(x), eff.topk_compress(x, k))


def test_a_ratio_of_nothing_is_nothing(device):
    assert eff.TopK(ratio=1.0).entries(0) == 0
    assert eff.TopK(ratio=0.5).compress(torch.zeros(3, 0, device=device)).shape == (3, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, TypeError, "expected either k or ratio, got k=None and ratio=None"),
        ({"k": 1, "ratio": 0.5}, TypeError, "expected either k or ratio, got k=1 and ratio=0.5"),
        ({"k": 0.1}, TypeError, r"k: expected an int, got float \(a fraction is ratio=\)"),
        ({"k": True}, TypeError, "k: expected an int, got bool"),
        ({"k": -1}, ValueError, "k: expected at least 0, got -1"),
        ({"ratio": 0.0}, ValueError, r"ratio: expected 0 < ratio <= 1, got 0\.0"),
        ({"ratio": 1.01}, ValueError, "ratio: expected 0 < ratio <= 1"),
        ({"ratio": NAN}, ValueError, "ratio: expected 0 < ratio <= 1, got nan"),
    ],
)
def test_what_topk_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        eff.TopK(**arguments)


def on_another_device(device):
    with torch._subclasses.FakeTensorMode():
        return torch.empty(2, 5, device=device)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([1.0], TypeError, "x: expected a tensor, got list"),
        (on_another_device("cuda"), RuntimeError, "x is on cuda:0, but .* no CUDA kernels"),
        (on_another_device("mps"), RuntimeError, "x: expected a CPU or CUDA tensor, .* mps"),
    ],
    ids=["no tensor", "no kernels", "mps"],
)
@pytest.mark.usefixtures("without_cuda_kernels")
def test_what_is_on_no_device_with_kernels_is_refused(x, error, message):
    with pytest.raises(error, match=message):
        eff.topk_compress(x, 1)


def test_the_derivative_is_one_where_zeros_are_kept(device):
    x = torch.tensor([[0.0, 2.0, 0.0, -1.0], [3.0, 0.0, 1.0, 2.0]], device=device)
    want = {4: [[1, 1, 1, 1], [1, 1, 1, 1]], 3: [[1, 1, 0, 1], [1, 0, 1, 1]]}
    for k, derivative in want.items():
        leaf = x.clone().requires_grad_()
        eff.TopK(k).compress(leaf).sum().backward()
        assert leaf.grad.tolist() == derivative


X = torch.zeros(2, 5)
TOPK = _C.COMPRESSORS["topk"]


@pytest.mark.parametrize(
    ("x", "k", "error", "message"),
    [
        (
            X.int(),
            1,
            TypeError,
            r"x: expected float32, float64, bfloat16 or float16, got torch\.int32",
        ),
        (X.int(), 1, TypeError, r"got torch\.int32"),
        (torch.tensor(1.0), 0, ValueError, "expected shape .* got a tensor without axes"),
        (X, 6, ValueError, "k: expected 0 <= k <= 5, the elements of a row, got 6"),
        (X, -1, ValueError, "k: expected 0 <= k <= 5, the elements of a row, got -1"),
        (X, 1.0, TypeError, "k: expected an int, got float"),
        (X, True, TypeError, "k: expected an int, got bool"),
    ],
)
def test_what_topk_compress_refuses(device, x, k, error, message):
    x = x.to(device)
    with pytest.raises(error, match=message):
        eff.topk_compress(x, k)


def test_a_gradient_is_no_obstacle_without_grad_mode(device):
    x = torch.ones(2, 5, requires_grad=True, device=device)
    with torch.no_grad():
        assert not eff.topk_compress(x, 1).requires_grad


def test_the_op_itself_checks_too(device):
    op, x = functools.partial(torch.ops.effebm.compress, compressor=TOPK), X.to(device)
    for k in (-1, 6):
        with pytest.raises(RuntimeError, match=f"k: expected 0 <= k <= 5, got {k}"):
            op(x, compressor_size=k)
    with pytest.raises(RuntimeError, match="got 0 dimensions"):
        op(x[0, 0], compressor_size=0)
    with pytest.raises(
        RuntimeError, match="expected float32, float64, bfloat16 or float16, got Int"
    ):
        op(x.int(), compressor_size=1)


def test_topk_of_more_than_a_row_is_refused_when_it_meets_the_row(device):
    x = X.to(device)
    with pytest.raises(ValueError, match="k: expected 0 <= k <= 5"):
        eff.TopK(6).compress(x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5), (0, 4), (2, 3, 4)])
def test_opcheck(device, dtype, shape):
    x = torch.randn(shape, dtype=dtype, device=device)
    torch.library.opcheck(torch.ops.effebm.compress.default, (x, TOPK, 3))
    torch.library.opcheck(torch.ops.effebm.compress.default, (x.transpose(0, -1), TOPK, 0))


def test_compressors_are_read_from_text():
    assert parse_compressor("none") is None
    assert parse_compressor("topk:16") == eff.TopK(16)
    assert parse_compressor("topk:0.1") == eff.TopK(ratio=0.1)
    assert parse_compressor("block-sign:64") == eff.BlockSign(64)


def test_digits_are_entries_and_other_numbers_a_ratio():
    assert parse_compressor("topk:1") == eff.TopK(1)
    assert parse_compressor("topk:1e-3") == eff.TopK(ratio=1e-3)
    with pytest.warns(UserWarning, match="topk:1.0 is a ratio and keeps all .* topk:1 keeps one"):
        assert parse_compressor("topk:1.0") == eff.TopK(ratio=1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected none, topk:RATIO, topk:K, block-sign:SIZE, random-k:RATIO"),
        ("none:1", "expected none, topk:RATIO"),
        ("top:3", "expected none, topk:RATIO"),
        ("topk", "compressor: 'topk': expected topk:RATIO, topk:K$"),
        ("topk:1.5", "compressor: 'topk:1.5': ratio: expected 0 < ratio <= 1"),
        ("topk:-3", "compressor: 'topk:-3': ratio: expected"),
        ("topk:0", "compressor: 'topk:0': k: expected 1 entry or more, got 0"),
        ("topk:0.0", "compressor: 'topk:0.0': ratio: expected"),
        ("topk:1_0", "compressor: 'topk:1_0': ratio: expected"),
        ("topk:²", "compressor: 'topk:²': expected topk:RATIO, topk:K$"),
        ("block-sign:0", "compressor: 'block-sign:0': block_size: expected at least 1, got 0"),
        ("block-sign:a", "compressor: 'block-sign:a': expected block-sign:SIZE$"),
    ],
)
def test_text_that_names_no_compressor_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_compressor(text)
