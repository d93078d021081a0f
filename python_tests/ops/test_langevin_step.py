"""langevin_step_ and langevin_step against their reference."""

import functools
import itertools

import pytest
import torch
from helpers import (
    DTYPES,
    INF,
    INTEGERS,
    NAN,
    assert_same_bits,
    expected,
    normal,
    on,
)
from hypothesis import given, settings
from step_cases import BOUNDS, CLIPS, NOISES, STEP_SIZES, cases

import effebm_ext as eff
from effebm_ext.ops.checks import compute_dtype
from effebm_ext.ops.langevin_step import langevin_step_reference
from effebm_ext.reference import canonical_sum, sqrt

KEY = eff.Key(17, offset=2**33 + 5, first_chain=3)
NAMED = {"seed": KEY.seed, "offset": KEY.offset, "first_chain": KEY.first_chain}
COMPRESSORS = [
    None,
    eff.TopK(3),
    eff.TopK(ratio=0.5),
    eff.BlockSign(4),
    eff.BlockSign(1000),
    eff.BlockSign(block_offsets=[0, 1, 7, 10]),
]


def assert_same_state(got, want):
    """Equal in bits; in float64, whose reference has no exact fma, to 2 ulp of the operands."""
    if got.dtype == torch.float64:
        # Operands stay below 8 in these tests, except for values that dwarf all else.
        torch.testing.assert_close(got.cpu(), want, rtol=2**-51, atol=2**-49, equal_nan=True)
    else:
        assert_same_bits(got, want)


def check_step(arguments, want=None):
    """Both ops, on the device of their tensors, against the reference; x and the residual are left
    as the op in place writes them."""
    x, grad, residual = (arguments[name] for name in ("x", "grad", "residual"))
    want, want_residual = want or expected(langevin_step_reference, **arguments, **NAMED)
    before = grad.clone()
    if residual is None:
        functional = {name: value for name, value in arguments.items() if name != "residual"}
        got = eff.langevin_step(**functional, rng=KEY)
        assert_same_state(got, want)
        assert got.is_contiguous()
    assert eff.langevin_step_(**arguments, rng=KEY) is x
    assert_same_state(x, want)
    if residual is not None:
        assert_same_bits(residual, want_residual)
    if grad is not x:
        assert_same_bits(grad, before)


@functools.cache
def combinations(dtype, compressor):
    """Arguments of a step with every combination of options, and what the reference makes of them:
    once for all devices, as it takes longer than the step."""
    tensors = {"x": normal(3, 2, 5, dtype=dtype), "grad": normal(3, 2, 5, seed=1, dtype=dtype)}
    memory = normal(3, 2, 5, seed=2, dtype=compute_dtype(dtype))
    options = {
        "step_size": STEP_SIZES,
        "clip": CLIPS,
        "bounds": BOUNDS,
        "noise_std": NOISES,
        "residual": [None] if compressor is None else [None, memory],
    }
    every = [
        {**tensors, "compressor": compressor, **dict(zip(options, values, strict=True))}
        for values in itertools.product(*options.values())
    ]
    return [(a, expected(langevin_step_reference, **a, **NAMED)) for a in every]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_every_combination_of_options_equals_the_reference(device, dtype, compressor):
    for arguments, want in combinations(dtype, compressor):
        check_step(on(device, arguments), want)


def gaps(t):
    """The memory of t's storage that is no element of t, as integers."""
    whole = torch.empty(0, dtype=t.dtype, device=t.device).set_(t.untyped_storage()).clone()
    whole.as_strided(t.shape, t.stride(), t.storage_offset()).zero_()
    return whole.view(INTEGERS[t.element_size()])


@settings(max_examples=300, deadline=None)
@given(cases())
def test_every_shape_and_layout_equals_the_reference(device, case):
    x, grad, step_size, residual, compressor, options = on(device, case)
    written = [x] if residual is None else [x, residual]
    before = [gaps(t) for t in written]
    check_step({"x": x, "grad": grad, "step_size": step_size, "residual": residual,
                "compressor": compressor, **options})  # fmt: skip
    assert all(torch.equal(gaps(t), gap) for t, gap in zip(written, before, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compressor", COMPRESSORS[1:5])
def test_a_residual_carries_over_many_steps(device, dtype, compressor):
    x = normal(4, 33, dtype=dtype, device=device)
    residual = torch.zeros_like(x, dtype=compute_dtype(dtype))
    sent, total = (torch.zeros_like(x, dtype=torch.float64) for _ in range(2))
    for step in range(8):
        grad = normal(4, 33, seed=step, dtype=dtype, device=device)
        total += grad
        sent += compressor.compress(grad.to(residual.dtype) + residual)
        check_step({"x": x, "grad": grad, "step_size": 0.01, "residual": residual,
                    "compressor": compressor})  # fmt: skip
    torch.testing.assert_close(sent + residual, total, rtol=0, atol=1e-4)


def test_no_noise_leaves_negative_zero_alone_and_depends_on_no_key(device):
    x, grad = (torch.full((2, 6), zero, device=device) for zero in (-0.0, 0.0))
    noise_std = torch.tensor([0.0, 1.0], device=device)
    assert_same_bits(eff.langevin_step(x, grad, 0.1, noise_std=0, rng=KEY), x)
    per_chain = eff.langevin_step(x, grad, 0.1, noise_std=noise_std, rng=KEY)
    assert_same_bits(per_chain[0], x[0])
    assert not torch.any(per_chain[1] == 0)
    y = normal(2, 6, device=device)
    steps = [eff.langevin_step(y, y, 0.1, noise_std=0.0, rng=eff.Key(s)) for s in (0, 1)]
    assert_same_bits(*steps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("compressor", [None, eff.TopK(2), eff.BlockSign(2)])
def test_nan_stays_nan_through_clip_and_bounds(device, dtype, bounds, compressor):
    grad = torch.tensor([[0.1, 0.2, NAN, 3.0, -0.4, 0.0]], dtype=dtype, device=device)
    options = {"compressor": compressor, "clip": eff.ClipValue(0.5), "bounds": bounds}
    got = eff.langevin_step(torch.zeros_like(grad), grad, 0.1, rng=KEY, **options)
    # A block with a NaN has no mean magnitude: 3.0 shares it.
    nan = [2, 3] if isinstance(compressor, eff.BlockSign) else [2]
    assert got[0].isnan().nonzero().flatten().tolist() == nan


def test_an_infinite_gradient_moves_to_the_far_bound(device):
    grad = torch.tensor([[INF, -INF, 1.0]], device=device)
    x = torch.zeros_like(grad)
    step = {"step_size": 0.5, "noise_std": 0}
    assert eff.langevin_step(x, grad, **step).tolist() == [[-INF, INF, -0.25]]
    assert eff.langevin_step(x, grad, bounds=(-2, 3), **step).tolist() == [[-2, 3, -0.25]]
    clipped = eff.langevin_step(x, grad, clip=eff.ClipValue(4), **step)
    assert clipped.tolist() == [[-1, 1, -0.25]]


def test_clip_by_norm_scales_a_chain_down_to_the_limit(device):
    x = torch.zeros(5, 2, device=device)
    grad = torch.tensor([[3.0, -4.0], [0.3, -0.4], [0.0, 0.0], [NAN, 1.0], [3e20, 4.0]])
    got = eff.langevin_step(x, grad.to(device), 2.0, noise_std=0, clip=eff.ClipNorm(2.5)).cpu()
    # A NaN norm scales nothing; one whose square overflows scales to zero.
    want = torch.tensor([[-1.5, 2.0], [-0.3, 0.4], [0.0, 0.0], [NAN, -1.0], [0.0, 0.0]])
    torch.testing.assert_close(got, want, rtol=1e-6, atol=0, equal_nan=True)
    assert_same_bits(got[1:], want[1:])


def test_a_state_out_of_bounds_comes_back(device):
    x = torch.tensor([[5.0, 1.5, -1.25, -9.0, 0.5]], device=device)
    step = {"grad": torch.zeros_like(x), "step_size": 0.5, "noise_std": 0}
    assert eff.langevin_step(x, bounds=(-1, 1), **step).tolist() == [[1, 1, -1, -1, 0.5]]
    mirrored = eff.langevin_step(x, bounds=eff.Reflect(-1, 1), **step)
    assert mirrored.tolist() == [[-1, 0.5, -0.75, 1, 0.5]]
    # 0.7 is no bfloat16, 0.69921875 is: a clamped state is a storable one within the bound.
    got = eff.langevin_step(x.bfloat16(), x.bfloat16() * 0, 0.1, noise_std=0, bounds=(-0.3, 0.7))
    assert got[0, 0].item() == torch.tensor(0.7).bfloat16().item()


def statistics_reference(grad, clip):
    """The sum of squares of each chain, and how many of its elements clip changes."""
    g = grad[:, None].flatten(1).to(compute_dtype(grad.dtype))
    squares = canonical_sum(g * g)
    changed = torch.zeros(g.shape, dtype=torch.bool)
    if isinstance(clip, eff.ClipValue):
        changed = g.abs() > torch.tensor(clip.limit, dtype=g.dtype)
    elif clip is not None:
        limit = torch.tensor(clip.limit, dtype=g.dtype)
        changed = (sqrt(squares) > limit)[:, None].expand_as(g)
    return torch.stack([squares, changed.sum(1).to(g.dtype)], dim=1)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_statistics_are_those_of_the_gradient(device, case):
    want = expected(statistics_reference, case[1], case[-1]["clip"])
    x, grad, step_size, residual, compressor, options = on(device, case)
    got = torch.full_like(want, NAN, device=device)
    state, memory = x.clone(), None if residual is None else residual.clone()
    options |= {"compressor": compressor, "rng": KEY}
    eff.langevin_step_(state, state if grad is x else grad, step_size, residual=memory, **options)
    eff.langevin_step_(x, grad, step_size, residual=residual, statistics=got, **options)
    assert_same_bits(got, want)
    assert_same_bits(x, state)
    if residual is not None:
        assert_same_bits(residual, memory)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 1023, 1024, 1025, 5000])
def test_statistics_keep_their_order_where_groups_end(device, dtype, dim):
    for clip in CLIPS:
        x = normal(2, dim, dtype=dtype, device=device)
        got = torch.empty(2, 2, dtype=compute_dtype(dtype), device=device)
        want = expected(statistics_reference, x, clip)
        eff.langevin_step_(x, x, 0.1, statistics=got, clip=clip)  # the gradient is what moves
        assert_same_bits(got, want)
