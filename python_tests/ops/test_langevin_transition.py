"""langevin_transition: the state of langevin_step_, and what the move to it was."""

import itertools

import pytest
import torch
from helpers import DTYPES, INF, LAYOUTS, NAN, assert_same_bits, expected, normal, on
from hypothesis import given, settings
from step_cases import cases

import effebm_ext as eff
from effebm_ext.ops.checks import compute_dtype
from effebm_ext.ops.compressor import FusedCompressor
from effebm_ext.reference import canonical_sum, sqrt

KEY = eff.Key(17, offset=2**33 + 5, first_chain=3)


def halves(u):
    """A compressor that no kernel knows."""
    return (2 * u).round() / 2


BY_OFFSETS = eff.BlockSign(block_offsets=[0, 1, 7, 10])
COMPRESSORS = [None, eff.TopK(3), eff.BlockSign(4), BY_OFFSETS, halves]
OPTIONS = [
    {},
    {"clip": eff.ClipValue(0.5), "noise_std": 0.0, "bounds": (-1.0, 0.7)},
    {"clip": eff.ClipNorm(1.5), "noise_std": torch.tensor([0.0, 0.5, 2.0])},
    {"bounds": eff.Reflect(-0.3, 0.7), "noise_std": torch.tensor(0.3)},
]


def reference_drift(grad, compressor, clip, residual, rng):
    """``C(clip(grad) + residual)`` in plain PyTorch, all of it in the compute dtype."""
    u = grad.to(compute_dtype(grad.dtype))
    if clip is not None:
        limit = torch.tensor(clip.limit, dtype=u.dtype)
        if isinstance(clip, eff.ClipValue):
            u = torch.where(u < -limit, -limit, torch.where(u > limit, limit, u))
        else:
            rows = u[:, None].flatten(1)
            norm = sqrt(canonical_sum(rows * rows)).reshape(-1, *[1] * (u.dim() - 1))
            u = u * torch.where(norm > limit, limit / norm, 1.0)
    if residual is not None:
        u = u + residual
    if isinstance(compressor, FusedCompressor):
        return compressor.reference(u, rng.seed, rng.offset, rng.first_chain)
    return u if compressor is None else compressor(u)


def row_sums(a, b):
    return expected(lambda a, b: canonical_sum((a * b)[:, None].flatten(1)), a, b)


def displacement(new, old):
    return new.to(compute_dtype(new.dtype)) - old.to(compute_dtype(old.dtype))


def check_transition(x, grad, step_size, residual=None, rng=KEY, **options):
    """Against the step in place, a drift in plain PyTorch, and sums of these."""
    compressor, clip = options.get("compressor"), options.get("clip")
    before = [x.clone(), grad.clone()]
    want_x = x.clone()
    memory, want_memory = (None if residual is None else residual.clone() for _ in range(2))
    want_drift = expected(reference_drift, grad, compressor, clip, residual, rng)
    gradient = want_x if grad is x else grad
    eff.langevin_step_(want_x, gradient, step_size, residual=want_memory, rng=rng, **options)

    got = eff.langevin_transition(x, grad, step_size, residual=memory, rng=rng, **options)
    assert_same_bits(got.x, want_x)
    assert_same_bits(got.drift, want_drift)
    delta = displacement(got.x, x)
    assert_same_bits(got.drift_dot_delta, row_sums(got.drift, delta))
    assert_same_bits(got.drift_sq, row_sums(got.drift, got.drift))
    assert got.x.is_contiguous()
    assert got.drift.is_contiguous()
    for after, was in zip((x, grad), before, strict=True):
        assert_same_bits(after, was)
    if residual is not None:
        assert_same_bits(memory, want_memory)
    else:
        said = eff.drift(grad, compressor=compressor, clip=clip, delta=delta, rng=rng)
        for one, other in zip(said, got[1:], strict=True):
            assert_same_bits(one, other)
    return got


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_every_combination_of_options_is_the_step_and_its_drift(device, dtype, compressor):
    x, grad = (normal(3, 2, 5, seed=seed, dtype=dtype, device=device) for seed in (0, 1))
    memory = normal(3, 2, 5, seed=2, dtype=compute_dtype(dtype), device=device)
    residuals = [None] if compressor is None else [None, memory]
    steps = [0.1, torch.tensor([0.0, 0.1, 1.5], device=device)]
    every = itertools.product(steps, residuals, on(device, OPTIONS))
    for step_size, residual, options in every:
        check_transition(x, grad, step_size, residual, compressor=compressor, **options)


@settings(max_examples=120, deadline=None)
@given(cases())
def test_every_shape_and_layout_is_the_step_and_its_drift(device, case):
    x, grad, step_size, residual, compressor, options = on(device, case)
    check_transition(x, grad, step_size, residual, compressor=compressor, **options)


SIZES = [1, 1023, 1024, 1025, 5000]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", SIZES)
def test_sums_keep_their_order_where_groups_end(device, dtype, dim):
    x, grad = (normal(2, dim, seed=seed, dtype=dtype, device=device) for seed in (0, 1))
    for compressor in (None, eff.TopK(ratio=0.3), eff.BlockSign(100)):
        got = check_transition(x, grad, 0.1, compressor=compressor, clip=eff.ClipNorm(9.0))
        direct = (got.drift.double() ** 2).sum(1)
        torch.testing.assert_close(got.drift_sq.double(), direct, rtol=1e-5, atol=0)


def test_sums_of_sums_of_sums_keep_their_order(device):
    x, grad, residual = (normal(1, 2**20 + 5, seed=seed, device=device) for seed in range(3))
    check_transition(x, grad, 0.1)
    check_transition(x, grad, 0.1, residual, compressor=eff.TopK(ratio=0.1))


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0), (2, 3, 0)])
def test_sums_over_nothing_are_zero(device, shape):
    ones = torch.ones(shape, device=device)
    for compressor in (None, eff.TopK(0), eff.BlockSign(3), halves):
        got = eff.langevin_transition(ones, ones.clone(), 0.1, rng=KEY, compressor=compressor)
        assert got.x.shape == got.drift.shape == shape
        assert got.drift_dot_delta.tolist() == got.drift_sq.tolist() == [0.0] * shape[0]


def test_a_chain_of_one_number_is_a_row(device):
    x, grad = normal(4, device=device), normal(4, seed=1, device=device)
    for compressor in (None, eff.TopK(1), eff.BlockSign(3), halves):
        check_transition(x, grad, 0.1, compressor=compressor)


def test_nan_and_infinity_reach_the_sums_of_their_chain_alone(device):
    grad = torch.tensor([[1.0, NAN], [INF, 1.0], [1.0, 2.0]], device=device)
    got = eff.langevin_transition(torch.zeros_like(grad), grad, 1.0, noise_std=0)
    assert got.drift_sq.isnan().tolist() == [True, False, False]
    assert got.drift_sq[1:].tolist() == [INF, 5.0]
    assert got.drift_dot_delta[1:].tolist() == [-INF, -2.5]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("compressor", [None, eff.TopK(ratio=0.3), eff.BlockSign(100), halves])
@pytest.mark.parametrize("shape", [(101, 17), (9, 1025), (2, 30_000)])
def test_bits_do_not_depend_on_threads_or_on_how_chains_are_split(device, dtype, compressor, shape):
    x, grad = (normal(*shape, seed=seed, dtype=dtype, device=device) for seed in (0, 1))
    options = {"compressor": compressor, "clip": eff.ClipNorm(3.0)}
    threads = torch.get_num_threads()
    runs = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            runs.append(eff.langevin_transition(x, grad, 0.1, rng=KEY, **options))
    finally:
        torch.set_num_threads(threads)
    cut = shape[0] // 2
    second = eff.Key(KEY.seed, KEY.offset, KEY.first_chain + cut)
    parts = [
        eff.langevin_transition(x[:cut], grad[:cut], 0.1, rng=KEY, **options),
        eff.langevin_transition(x[cut:], grad[cut:], 0.1, rng=second, **options),
    ]
    runs.append([torch.cat(pieces) for pieces in zip(*parts, strict=True)])
    for other in runs[1:]:
        for got, want in zip(other, runs[0], strict=True):
            assert_same_bits(got, want)


@pytest.mark.parametrize("compressor", [eff.TopK(2), eff.BlockSign(2), halves])
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_residual_of_any_layout_is_written_where_it_lies(device, layout, compressor):
    x, grad, memory = (normal(3, 4, seed=seed, device=device) for seed in range(3))
    want = memory.clone()
    eff.langevin_transition(x, grad, 0.1, compressor=compressor, residual=want, rng=KEY)
    residual = LAYOUTS[layout](memory)
    eff.langevin_transition(x, grad, 0.1, compressor=compressor, residual=residual, rng=KEY)
    assert_same_bits(residual, want)


def test_the_new_state_may_be_fed_back(device):
    x, grad = normal(5, 33, device=device), normal(5, 33, seed=1, device=device)
    residual, want_residual, want = torch.zeros_like(x), torch.zeros_like(x), x.clone()
    for step in range(6):
        options = {"compressor": eff.TopK(4), "rng": KEY.at(step)}
        x = eff.langevin_transition(x, grad + x, 0.1, residual=residual, **options).x
        eff.langevin_step_(want, grad + want, 0.1, residual=want_residual, **options)
        assert_same_bits(x, want)
        assert_same_bits(residual, want_residual)
