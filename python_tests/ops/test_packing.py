"""pack and unpack: what was compressed comes back to the bit, in the memory that was promised."""

import math

import pytest
import torch
from helpers import INF, NAN, READ_ONLY_LAYOUTS, SPECIAL, assert_same_bits, normal, on
from hypothesis import given, settings
from hypothesis import strategies as st

import effebm_ext as eff

KEY = eff.Key(17)


@st.composite
def tensors_and_compressors(draw):
    shape = draw(
        st.lists(st.integers(0, 6), min_size=1, max_size=4)
        | st.tuples(st.integers(0, 3), st.sampled_from([31, 32, 33, 64, 65, 1023, 1025, 2051]))
    )
    seed = draw(st.integers(0, 2**32))
    t = normal(*shape, seed=seed, dtype=torch.float64)
    values = draw(st.sampled_from([None, None, SPECIAL, SPECIAL[:6], SPECIAL[:10]]))
    if values is not None:
        index = torch.randint(len(values), shape, generator=torch.Generator().manual_seed(seed))
        t = values[index]
    dim = math.prod(shape[1:])
    compressor = draw(
        st.builds(eff.TopK, st.integers(0, dim))
        | st.builds(eff.BlockSign, st.integers(1, 2 * dim + 2))
    )
    if dim > 0 and draw(st.booleans()):
        inner = draw(st.sets(st.integers(1, max(1, dim - 1)), max_size=20)) - {dim}
        compressor = eff.BlockSign(block_offsets=[0, *sorted(inner), dim])
    layout = READ_ONLY_LAYOUTS[draw(st.sampled_from(sorted(READ_ONLY_LAYOUTS)))]
    return t.to(draw(st.sampled_from([torch.float32, torch.float64]))), compressor, layout


@settings(max_examples=250, deadline=None)
@given(tensors_and_compressors())
def test_what_was_compressed_comes_back_to_the_bit(device, drawn):
    x, compressor, layout = drawn
    c = layout(compressor.compress(x.to(device)))
    before = c.clone()
    packed = compressor.pack(c)
    assert_same_bits(packed.unpack(), before)
    assert_same_bits(c, before)
    assert packed.unpack().is_contiguous()
    if len(c) > 0:
        chains = torch.tensor([len(c) - 1, 0, len(c) - 1], device=device)
        assert_same_bits(packed.take(chains).unpack(), before[chains])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "compressor",
    [eff.TopK(5), eff.TopK(ratio=0.5), eff.BlockSign(8), eff.BlockSign(block_offsets=[0, 3, 70])],
)
def test_drifts_of_transitions_come_back_to_the_bit(device, dtype, compressor):
    x, grad = (normal(6, 7, 10, seed=seed, dtype=dtype, device=device) for seed in (0, 1))
    grad[:3, 2:5] = 0
    residual = torch.zeros_like(x, dtype=torch.promote_types(dtype, torch.float32))
    for step in range(3):
        for memory in (None, residual):
            options = {"clip": eff.ClipNorm(3.0), "rng": KEY.at(step)}
            t = eff.langevin_transition(
                x, grad, 0.1, compressor=compressor, residual=memory, **options
            )
            assert_same_bits(compressor.pack(t.drift).unpack(), t.drift)


def test_signs_and_zeros_are_the_bits_of_words(device):
    x = torch.tensor([[1.0, -1.0, 3.0, -3.0, *[2.0] * 28, -4.0]], device=device)
    packed = eff.BlockSign(32).pack(eff.BlockSign(32).compress(x))
    assert packed.signs.tolist() == [[0b1010, 1]]
    assert packed.zeros is None
    assert packed.scales.tolist() == [[2.0, 4.0]]
    assert (packed.event_shape, packed.block_size, packed.block_offsets) == ((33,), 32, None)
    x[0, [2, 31]] = 0
    packed = eff.BlockSign(32).pack(eff.BlockSign(32).compress(x))
    assert packed.signs.tolist() == [[0b1010, 1]]
    assert packed.zeros.tolist() == [[0b100 - 2**31, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scales_that_underflow_leave_signed_zeros(device, dtype):
    tiny = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    x = tiny * torch.tensor([[-1, 0, 0, 0, 1, -1, 0, 0, 1, -1, -1, 0]], dtype=dtype)
    c = eff.BlockSign(4).compress(
        x.to(device)
    )  # a quarter and a half of tiny are 0, three quarters are tiny
    assert c[0, :8].eq(0).all()
    assert c.signbit().nonzero()[:, 1].tolist() == [0, 5, 9, 10]
    assert_same_bits(eff.BlockSign(4).pack(c).unpack(), c)


@pytest.mark.parametrize("values", [[NAN, -NAN, 0.0, 1.0], [INF, -2.0, 0.0, -0.0], [0.0] * 4])
def test_nan_infinity_and_nothing_come_back(device, values):
    x = torch.tensor([values, [1.0, -2.0, 3.0, -4.0]], device=device)
    for compressor in (eff.TopK(3), eff.BlockSign(3), eff.BlockSign(4)):
        c = compressor.compress(x)
        assert_same_bits(compressor.pack(c).unpack(), c)


def test_rows_with_fewer_entries_repeat_the_last(device):
    rows = [[0.0, 5.0, 0.0, -1.0], [0.0, 0.0, -0.0, 0.0], [0.0] * 4, [1.0, 2, 3, 0]]
    c = torch.tensor(rows, device=device)
    packed = eff.TopK(3).pack(c)
    assert packed.values.tolist() == [[5, -1, -1], [0, 0, 0], [0, 0, 0], [1, 2, 3]]
    assert packed.indices.tolist() == [[1, 3, 3], [2, 2, 2], [0, 0, 0], [0, 1, 2]]
    assert packed.values[1].signbit().all()
    assert_same_bits(packed.unpack(), c)


@pytest.mark.parametrize(("dim", "dtype"), [(2**15, torch.int16), (2**15 + 1, torch.int32)])
def test_indices_are_as_small_as_the_row_allows(device, dim, dtype):
    c = torch.zeros(2, dim, device=device)
    c[:, -1], c[0, 0], c[1, 1023] = 1.0, -2.0, NAN
    packed = eff.TopK(2).pack(c)
    assert packed.indices.dtype == dtype
    assert packed.indices.tolist() == [[0, dim - 1], [1023, dim - 1]]
    assert_same_bits(packed.unpack(), c)


@pytest.mark.parametrize(
    ("dtype", "with_zeros", "nbytes"),
    # 1024 bits for signs, as many for zeros, and 16 scales, for each of three chains
    [(torch.float32, False, 3 * (128 + 64)), (torch.float32, True, 3 * (256 + 64)),
     (torch.float64, False, 3 * (128 + 128))],
)  # fmt: skip
def test_signs_take_the_memory_that_was_promised(device, dtype, with_zeros, nbytes):
    x = normal(3, 32, 32, dtype=dtype, device=device)
    if with_zeros:
        x[2, 3, 4] = 0
    packed = eff.BlockSign(64).pack(eff.BlockSign(64).compress(x))
    assert packed.nbytes == nbytes
    assert packed.take(torch.tensor([1], device=device)).nbytes == nbytes // 3
    if dtype == torch.float32 and not with_zeros:
        assert packed.nbytes / x.numel() == 0.1875


def test_entries_take_the_memory_that_was_promised(device):
    top, chains = eff.TopK(ratio=0.1), torch.tensor([0, 2], device=device)
    for dtype, size in ((torch.float32, 4 + 2), (torch.float64, 8 + 2)):
        packed = top.pack(top.compress(normal(3, 1000, dtype=dtype, device=device)))
        assert packed.nbytes == 3 * 100 * size
        assert packed.take(chains).nbytes == 2 * 100 * size
    long = torch.zeros(2, 2**15 + 1, device=device)
    assert eff.TopK(1).pack(long).nbytes == 2 * (4 + 4)


def test_taken_chains_are_copies(device):
    x, chains = normal(4, 40, device=device), torch.tensor([2, 2, 0], device=device)
    for compressor in (eff.TopK(3), eff.BlockSign(7), eff.BlockSign(block_offsets=[0, 39, 40])):
        c = compressor.compress(x)
        packed = compressor.pack(c)
        taken = packed.take(chains)
        assert_same_bits(taken.unpack(), c[[2, 2, 0]])
        (taken.values if isinstance(compressor, eff.TopK) else taken.scales).zero_()
        assert_same_bits(packed.unpack(), c)
        none = packed.take(chains[:0])
        assert none.unpack().shape == (0, 40)
        assert none.nbytes == 0


C = torch.tensor([[1.0, -1.0, 2.0, 2.0]])


@pytest.mark.parametrize(
    ("compressor", "c", "error", "message"),
    [
        (eff.TopK(3), C, ValueError, "c: expected .* compressed to 3 entries per chain"),
        (eff.TopK(0), C, ValueError, "c: expected .* compressed to 0 entries per chain"),
        (eff.TopK(1), torch.tensor([[-0.0, 1.0]]), ValueError, "c: expected .* to 1 entries"),
        (eff.TopK(5), C, ValueError, "k: expected 0 <= k <= 4"),
        (eff.BlockSign(3), C, ValueError, "c: expected .* Block-Sign has compressed with these"),
        (eff.BlockSign(4), C, ValueError, "c: expected .* several magnitudes in one block"),
        (eff.BlockSign(2), torch.tensor([[-0.0, 1.0]]), ValueError, "several magnitudes in one"),
        (eff.BlockSign(2), torch.tensor([[NAN, 1.0]]), ValueError, "several magnitudes in one"),
        (eff.BlockSign(block_offsets=[0, 1, 4]), C, ValueError, "several magnitudes in one block"),
        (eff.BlockSign(block_offsets=[0, 3]), C, ValueError, "block_offsets: expected the last to"),
        *[
            (compressor, c, error, message)
            for compressor in (eff.TopK(1), eff.BlockSign(2), eff.BlockSign(block_offsets=[0, 4]))
            for c, error, message in [
                (C.bfloat16(), TypeError, "c: expected float32 or float64, .* got torch.bfloat16"),
                (C.half(), TypeError, "c: expected float32 or float64, .* got torch.float16"),
                (C.int(), TypeError, "c: expected float32, .* got torch.int32"),
                (C[0, 0], ValueError, "c: expected shape .* a tensor without axes"),
                (C.clone().requires_grad_(), RuntimeError, "pack is not differentiable"),
            ]
        ],
    ],
    ids=str,
)
def test_what_is_refused(device, compressor, c, error, message):
    c = on(device, c)
    with pytest.raises(error, match=message):
        compressor.pack(c)


@pytest.mark.parametrize(
    "compressor", [eff.TopK(1), eff.BlockSign(2), eff.BlockSign(block_offsets=[0, 4])]
)
def test_what_is_no_tensor_is_refused(compressor):
    with pytest.raises(TypeError, match="c: expected a tensor, got list"):
        compressor.pack([1.0])


def test_a_misfit_is_found_wherever_it_is(device):
    for dim, at in ((33, 32), (5000, 4999), (5000, 1024), (70_000, 65_536)):
        signs, entries = (torch.full((3, dim), v, device=device) for v in (1.0, 0.0))
        assert_same_bits(eff.BlockSign(dim).pack(signs).unpack(), signs)
        assert_same_bits(eff.TopK(0).pack(entries).unpack(), entries)
        signs[2, at] = entries[2, at] = 1.5
        with pytest.raises(ValueError, match="several magnitudes"):
            eff.BlockSign(dim).pack(signs)
        with pytest.raises(ValueError, match="to 0 entries per chain, got more"):
            eff.TopK(0).pack(entries)
        assert_same_bits(eff.TopK(1).pack(entries).unpack(), entries)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (3,), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opcheck(device, shape, dtype):
    ops, dim = torch.ops.effebm, math.prod(shape[1:])
    ones = torch.ones(shape, dtype=dtype, device=device)
    for c in (ones, ones.transpose(0, -1)):
        torch.library.opcheck(ops.signs_pack.default, (c, 3, None))
        torch.library.opcheck(ops.entries_pack.default, (c, 0))
    by_offsets = torch.tensor([0, 1, dim], device=device)
    blocks = [(3, None)] if dim < 2 else [(3, None), (1, by_offsets)]
    for size, offsets in blocks:
        signs, zeros, scales, _ = ops.signs_pack(ones, size, offsets)
        for given_zeros in (None, zeros):
            arguments = (signs, given_zeros, scales, dim, size, offsets)
            torch.library.opcheck(ops.signs_unpack.default, arguments)
