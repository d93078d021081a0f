"""langevin_step_ and langevin_step against their reference, and what they refuse."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import effebm_ext as eff
from effebm_ext.ops.langevin_step import langevin_step_reference

DTYPES = [torch.float32, torch.float64, torch.bfloat16]
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
NAN, INF = math.nan, math.inf
KEY = eff.Key(17, offset=2**33 + 5, first_chain=3)
NAMED = {"seed": KEY.seed, "offset": KEY.offset, "first_chain": KEY.first_chain}
COMPRESSORS = [None, eff.TopK(3), eff.TopK(ratio=0.5), eff.BlockSign(4), eff.BlockSign(1000)]
CLIPS = [None, eff.ClipValue(0.5)]
BOUNDS = [None, (-1.0, 0.7), eff.Reflect(-0.3, 0.7)]
STEP_SIZES = [0.1, torch.tensor(0.1, dtype=torch.float64), torch.tensor([0.0, 0.1, 1.5])]
NOISES = [None, 0, 0.3, torch.tensor(0.3), torch.tensor([0.0, 0.5, 2.0])]
SPECIAL = torch.tensor([0.0, -0.0, 1, -2, 1e-40, -1e-310, 3e38, INF, -INF, NAN], dtype=torch.double)
# Views of x's shape whose memory holds NaN between the elements, or another order of axes.
LAYOUTS = {
    "contiguous": lambda t: t.clone(),
    "transposed": lambda t: t.transpose(0, -1).contiguous().transpose(0, -1),
    "strided": lambda t: torch.stack([t, torch.full_like(t, NAN)], dim=-1)[..., 0],
    "inner": lambda t: torch.nn.functional.pad(t, (1, 2), value=NAN)[..., 1:-2],
}


def assert_same_bits(got, want):
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    nan = want.isnan()
    assert torch.equal(got.isnan(), nan)
    integer = INTEGERS[got.element_size()]
    got, want = (t.masked_fill(nan, 0).contiguous().view(integer) for t in (got, want))
    assert torch.equal(got, want)


def assert_same_state(got, want):
    """Equal in bits; in float64, whose reference has no exact fma, to 2 ulp of the operands."""
    if got.dtype == torch.float64:
        # Operands stay below 8 in these tests, except for values that dwarf all else.
        torch.testing.assert_close(got, want, rtol=2**-51, atol=2**-49, equal_nan=True)
    else:
        assert_same_bits(got, want)


def compute(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_step(x, grad, step_size, residual=None, **options):
    """Both ops against the reference; returns what the in-place one left in x and residual."""
    named = {"residual": residual, **NAMED, **options}
    want, want_residual = langevin_step_reference(x, grad, step_size, **named)
    before = grad.clone()
    if residual is None:
        got = eff.langevin_step(x, grad, step_size, rng=KEY, **options)
        assert_same_state(got, want)
        assert got.is_contiguous()
    else:
        options["residual"] = residual
    assert eff.langevin_step_(x, grad, step_size, rng=KEY, **options) is x
    assert_same_state(x, want)
    if residual is not None:
        assert_same_bits(residual, want_residual)
    if grad is not x:
        assert_same_bits(grad, before)


def normal(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_every_combination_of_options_equals_the_reference(dtype, compressor):
    x, grad = normal(3, 2, 5, dtype=dtype), normal(3, 2, 5, seed=1, dtype=dtype)
    memory = normal(3, 2, 5, seed=2, dtype=compute(dtype))
    residuals = [None] if compressor is None else [None, memory]
    every = itertools.product(STEP_SIZES, CLIPS, BOUNDS, NOISES, residuals)
    for step_size, clip, bounds, noise_std, residual in every:
        residual = None if residual is None else residual.clone()
        options = {"clip": clip, "bounds": bounds, "noise_std": noise_std}
        check_step(x.clone(), grad, step_size, residual, compressor=compressor, **options)


@st.composite
def cases(draw):
    shape = draw(
        st.lists(st.integers(0, 6), min_size=1, max_size=4)
        | st.tuples(st.integers(0, 3), st.sampled_from([1, 63, 65, 1023, 1024, 1025, 2051]))
    )
    dtype = draw(st.sampled_from(DTYPES))
    layouts = st.sampled_from(sorted(LAYOUTS))
    seed = draw(st.integers(0, 2**32))
    x, grad = normal(*shape, seed=seed, dtype=dtype), normal(*shape, seed=seed + 1, dtype=dtype)
    if draw(st.booleans()):
        index = torch.randint(len(SPECIAL), shape, generator=torch.Generator().manual_seed(seed))
        grad = SPECIAL[index].to(dtype)
    x = LAYOUTS[draw(layouts)](x)
    grad = {"expanded": grad[:1].expand_as(grad), "x": x}.get(
        draw(layouts | st.sampled_from(["expanded", "x"])), LAYOUTS[draw(layouts)](grad)
    )
    dim = math.prod(shape[1:])
    compressor = draw(
        st.none()
        | st.builds(eff.TopK, st.integers(0, dim))
        | st.builds(eff.BlockSign, st.integers(max(1, dim // 50), 2 * dim + 2))
    )
    residual = None
    if compressor is not None and draw(st.booleans()):
        residual = LAYOUTS[draw(layouts)](normal(*shape, seed=seed + 2, dtype=compute(dtype)))
    options = {"clip": CLIPS, "bounds": BOUNDS, "noise_std": NOISES[:-1]}
    drawn = {name: draw(st.sampled_from(values)) for name, values in options.items()}
    return x, grad, draw(st.sampled_from(STEP_SIZES[:-1])), residual, compressor, drawn


def gaps(t):
    """The memory of t's storage that is no element of t, as integers."""
    whole = torch.empty(0, dtype=t.dtype).set_(t.untyped_storage()).clone()
    whole.as_strided(t.shape, t.stride(), t.storage_offset()).zero_()
    return whole.view(INTEGERS[t.element_size()])


@settings(max_examples=300, deadline=None)
@given(cases())
def test_every_shape_and_layout_equals_the_reference(case):
    x, grad, step_size, residual, compressor, options = case
    written = [x] if residual is None else [x, residual]
    before = [gaps(t) for t in written]
    check_step(x, grad, step_size, residual, compressor=compressor, **options)
    assert all(torch.equal(gaps(t), gap) for t, gap in zip(written, before, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compressor", COMPRESSORS[1:])
def test_a_residual_carries_over_many_steps(dtype, compressor):
    x, residual = normal(4, 33, dtype=dtype), torch.zeros(4, 33, dtype=compute(dtype))
    sent = torch.zeros(4, 33, dtype=torch.float64)
    total = torch.zeros(4, 33, dtype=torch.float64)
    for step in range(8):
        grad = normal(4, 33, seed=step, dtype=dtype)
        total += grad
        sent += compressor.compress(grad.to(residual.dtype) + residual)
        check_step(x, grad, 0.01, residual, compressor=compressor)
    torch.testing.assert_close(sent + residual, total, rtol=0, atol=1e-4)


def test_no_noise_leaves_negative_zero_alone_and_depends_on_no_key():
    x, grad = torch.full((2, 6), -0.0), torch.zeros(2, 6)
    assert_same_bits(eff.langevin_step(x, grad, 0.1, noise_std=0, rng=KEY), x)
    per_chain = eff.langevin_step(x, grad, 0.1, noise_std=torch.tensor([0.0, 1.0]), rng=KEY)
    assert_same_bits(per_chain[0], x[0])
    assert not torch.any(per_chain[1] == 0)
    y = normal(2, 6)
    steps = [eff.langevin_step(y, y, 0.1, noise_std=0.0, rng=eff.Key(s)) for s in (0, 1)]
    assert_same_bits(*steps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("compressor", [None, eff.TopK(2), eff.BlockSign(2)])
def test_nan_stays_nan_through_clip_and_bounds(dtype, bounds, compressor):
    grad = torch.tensor([[0.1, 0.2, NAN, 3.0, -0.4, 0.0]], dtype=dtype)
    options = {"compressor": compressor, "clip": eff.ClipValue(0.5), "bounds": bounds}
    got = eff.langevin_step(torch.zeros_like(grad), grad, 0.1, rng=KEY, **options)
    # A block with a NaN has no mean magnitude: 3.0 shares it.
    nan = [2, 3] if isinstance(compressor, eff.BlockSign) else [2]
    assert got[0].isnan().nonzero().flatten().tolist() == nan


def test_an_infinite_gradient_moves_to_the_far_bound():
    x, grad = torch.zeros(1, 3), torch.tensor([[INF, -INF, 1.0]])
    step = {"step_size": 0.5, "noise_std": 0}
    assert eff.langevin_step(x, grad, **step).tolist() == [[-INF, INF, -0.25]]
    assert eff.langevin_step(x, grad, bounds=(-2, 3), **step).tolist() == [[-2, 3, -0.25]]
    clipped = eff.langevin_step(x, grad, clip=eff.ClipValue(4), **step)
    assert clipped.tolist() == [[-1, 1, -0.25]]


def test_a_state_out_of_bounds_comes_back():
    x = torch.tensor([[5.0, 1.5, -1.25, -9.0, 0.5]])
    step = {"grad": torch.zeros_like(x), "step_size": 0.5, "noise_std": 0}
    assert eff.langevin_step(x, bounds=(-1, 1), **step).tolist() == [[1, 1, -1, -1, 0.5]]
    mirrored = eff.langevin_step(x, bounds=eff.Reflect(-1, 1), **step)
    assert mirrored.tolist() == [[-1, 0.5, -0.75, 1, 0.5]]
    # 0.7 is no bfloat16, 0.69921875 is: a clamped state is a storable one within the bound.
    got = eff.langevin_step(x.bfloat16(), x.bfloat16() * 0, 0.1, noise_std=0, bounds=(-0.3, 0.7))
    assert got[0, 0].item() == torch.tensor(0.7).bfloat16().item()


X = torch.zeros(3, 4)


def fake(device):
    with torch._subclasses.FakeTensorMode():
        return torch.empty(3, 4, device=device)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": [0.0]}, TypeError, "x: expected a tensor, got list"),
        ({"x": X.half()}, TypeError, r"x: expected float32, .* got torch\.float16"),
        ({"x": torch.tensor(0.0)}, ValueError, "x: expected shape .* a tensor without axes"),
        ({"x": fake("cuda")}, RuntimeError, "x is on cuda:0, but .* no CUDA kernels"),
        ({"grad": None}, TypeError, "grad: expected a tensor, got NoneType"),
        ({"grad": X.double()}, TypeError, r"grad: expected torch\.float32 .* got torch\.float64"),
        ({"grad": X[:2]}, ValueError, r"grad: expected the shape of x, \(3, 4\), got \(2, 4\)"),
        ({"grad": X.to("meta")}, ValueError, "grad: expected a tensor on cpu, got one on meta"),
        ({"x": X.clone().requires_grad_()}, RuntimeError, r"not differentiable.*detach\(\) it"),
        ({"grad": X.clone().requires_grad_()}, RuntimeError, "not differentiable, but an argument"),
        ({"step_size": -0.1}, ValueError, r"step_size: expected a finite number >= 0, got -0\.1"),
        ({"step_size": NAN}, ValueError, "step_size: expected a finite number >= 0, got nan"),
        ({"step_size": INF}, ValueError, "step_size: expected a finite number >= 0, got inf"),
        ({"step_size": "0.1"}, TypeError, "step_size: expected a number or a tensor, got str"),
        ({"step_size": True}, TypeError, "step_size: expected a number or a tensor, got bool"),
        ({"step_size": X}, ValueError, r"step_size: .* shape \(\) or \(3,\), got shape \(3, 4\)"),
        ({"step_size": X[0]}, ValueError, r"step_size: .* or \(3,\), got shape \(4,\)"),
        ({"noise_std": -1}, ValueError, "noise_std: expected a finite number >= 0, got -1"),
        ({"noise_std": X[0]}, ValueError, r"noise_std: .* or \(3,\), got shape \(4,\)"),
        ({"compressor": "topk"}, TypeError, "compressor: expected TopK, BlockSign or None, got"),
        ({"compressor": eff.TopK(5)}, ValueError, "k: expected 0 <= k <= 4, .* got 5"),
        ({"clip": 1.0}, TypeError, "clip: expected ClipValue, ClipNorm or None, got float"),
        ({"clip": eff.ClipNorm(1.0)}, NotImplementedError, "ClipNorm is not implemented yet"),
        ({"bounds": (1, -1)}, ValueError, r"bounds: expected lower <= upper, got \(1, -1\)"),
        ({"bounds": (NAN, 1)}, ValueError, "bounds: expected lower <= upper, got"),
        ({"bounds": (0, 1, 2)}, TypeError, r"bounds: expected \(lower, upper\), Reflect or None"),
        ({"bounds": 1.0}, TypeError, r"bounds: expected \(lower, upper\), Reflect or None, got 1"),
        ({"rng": eff.Key(0, 0, 2**32 - 2)}, ValueError, r"rng: expected chains below 2\*\*32"),
        ({"x": X.to("meta"), "grad": X.to("meta"), "rng": torch.Generator()}, ValueError,
         "rng: expected a generator on meta, got one on cpu"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("op", [eff.langevin_step, eff.langevin_step_])
def test_what_both_wrappers_refuse(op, changes, error, message):
    arguments = {"x": X.clone(), "grad": X, "step_size": 0.1, **changes}
    with pytest.raises(error, match=message):
        op(**arguments)


@pytest.mark.parametrize(
    ("x", "residual", "compressor", "error", "message"),
    [
        (X[:1].expand(3, 4), None, None, ValueError, "x: .* an expanded one; clone"),
        (X, X[:1].expand(3, 4), eff.TopK(1), ValueError, "residual: .* an expanded one"),
        (X, X, None, ValueError, "residual: expected a compressor with it"),
        (X, 0.0, eff.TopK(1), TypeError, "residual: expected a tensor, got float"),
        (X, X[:2], eff.TopK(1), ValueError, "residual: expected the shape of x"),
        (X, X.bfloat16(), eff.TopK(1), TypeError, r"residual: expected torch\.float32"),
        (X.bfloat16(), X.bfloat16(), eff.TopK(1), TypeError, r"residual: expected torch\.float32"),
        (X.double(), X, eff.TopK(1), TypeError, r"residual: expected torch\.float64"),
        (X, X.to("meta"), eff.TopK(1), ValueError, "residual: expected a tensor on cpu"),
    ],
)
def test_what_the_in_place_wrapper_refuses(x, residual, compressor, error, message):
    with pytest.raises(error, match=message):
        eff.langevin_step_(x, torch.zeros(3, 4), 0.1, compressor=compressor, residual=residual)


@pytest.mark.parametrize("limit", [eff.ClipValue, eff.ClipNorm])
@pytest.mark.parametrize("value", [0, -1.0, INF, NAN])
def test_limits_are_positive_and_finite(limit, value):
    with pytest.raises(ValueError, match="limit: expected a positive finite number, got"):
        limit(value)


@pytest.mark.parametrize("bounds", [(2, 1), (NAN, 0), (0, NAN)])
def test_mirrors_are_in_order(bounds):
    with pytest.raises(ValueError, match="bounds: expected lower <= upper, got"):
        eff.Reflect(*bounds)


def test_tensors_that_share_memory_are_refused():
    memory = normal(10, 4)
    x, grad, apart, shifted = memory[:3], memory[4:7], memory[7:], memory[2:5]
    topk = {"compressor": eff.TopK(2), "rng": KEY}
    before = memory.clone()
    clashes = [(x, grad, x), (x, grad, shifted), (x, shifted, apart), (x, x, x), (x, grad, grad)]
    for state, gradient, residual in clashes:
        with pytest.raises(RuntimeError, match="overlap"):
            eff.langevin_step_(state, gradient, 0.1, residual=residual, **topk)
    with pytest.raises(RuntimeError, match="overlap"):
        eff.langevin_step_(x, shifted, 0.1)
    assert torch.equal(memory, before)
    # Neighbours in one storage share none.
    check_step(memory[:3], memory[3:6], 0.1, memory[6:9], compressor=eff.TopK(2))


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_views_that_share_memory_are_refused(layout):
    x = LAYOUTS[layout](normal(3, 4))
    before, topk = x.clone(), eff.TopK(2)
    with pytest.raises(RuntimeError, match="overlap"):
        eff.langevin_step_(x, normal(3, 4, seed=1), 0.1, compressor=topk, residual=x)
    assert torch.equal(x, before)


def test_columns_that_share_memory_are_refused():
    memory, grad = normal(3, 6), normal(3, 4, seed=1)
    state, residual = memory[:, :4], memory[:, 2:]
    with pytest.raises(RuntimeError, match="overlap"):
        eff.langevin_step_(state, grad, 0.1, compressor=eff.TopK(2), residual=residual)


def test_autograd_notices_what_the_step_overwrites():
    weight = torch.ones(3, 4, requires_grad=True)
    x, residual = normal(3, 4), normal(3, 4, seed=1)
    losses = [(weight * t).sum() for t in (x, residual)]
    eff.langevin_step_(x, normal(3, 4, seed=2), 0.1, compressor=eff.TopK(2), residual=residual)
    for loss in losses:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


NEUTRAL = {"key": torch.tensor([1, 2]), "offset": 0, "first_chain": 0, "step_size": 0.1,
           "step_sizes": None, "noise_std": None, "noise_stds": None, "compressor": 0,
           "compressor_size": 0, "block_offsets": None, "clip": 0, "clip_limit": 0.0, "bounds": 0,
           "lower": 0.0, "upper": 0.0, "rounding": 0}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grad": X[:2]}, "grad: expected the shape of x"),
        ({"grad": X.double()}, "grad: expected Float, got Double"),
        ({"x": X.half(), "grad": X.half()}, "expected float32, float64 or bfloat16, got Half"),
        ({"x": X[0, 0], "grad": X[0, 0]}, "got 0 dimensions"),
        ({"key": torch.zeros(2)}, "key: expected Long, got Float"),
        ({"key": torch.tensor([1, 2, 3])}, r"key: expected int64\[2\]"),
        ({"first_chain": 2**32 - 2}, r"first_chain: expected chains below 2\*\*32, got 4294967294"),
        ({"first_chain": -1}, "first_chain: expected chains below"),
        ({"step_sizes": torch.zeros(2)}, r"step_size: expected shape \(\) or \(n_chains,\)"),
        ({"noise_stds": torch.zeros((), dtype=torch.double)}, "noise_std: expected Float"),
        ({"compressor": 1, "compressor_size": 5}, "k: expected 0 <= k <= 4, got 5"),
        ({"compressor": 2}, "block_size: expected at least 1, got 0"),
        ({"block_offsets": torch.tensor([0, 4])}, "block_offsets: not implemented yet"),
        ({"clip": 2}, "clip by norm: not implemented yet"),
        ({"rounding": 1}, "stochastic rounding: not implemented yet"),
    ],
)  # fmt: skip
def test_the_ops_themselves_check_too(changes, message):
    arguments = {"x": X.clone(), "grad": X, **NEUTRAL, **changes}
    with pytest.raises(RuntimeError, match=message):
        torch.ops.effebm.langevin_step(**arguments)
    with pytest.raises(RuntimeError, match=message):
        torch.ops.effebm.langevin_step_(residual=None, row_sums=None, **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row_sums": torch.zeros(3)}, "row_sums: not implemented yet"),
        ({"residual": X[:2].clone()}, "residual: expected the shape of x"),
        ({"residual": X.double()}, "residual: expected Float, got Double"),
    ],
)
def test_the_in_place_op_itself_checks_too(changes, message):
    arguments = {"residual": None, "row_sums": None, **NEUTRAL, **changes}
    with pytest.raises(RuntimeError, match=message):
        torch.ops.effebm.langevin_step_(X.clone(), X, **arguments)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compressor", [0, 1, 2])
def test_opcheck(dtype, compressor):
    x, grad = normal(3, 4, dtype=dtype), normal(3, 4, seed=1, dtype=dtype)
    options = NEUTRAL | {"compressor": compressor, "compressor_size": 2, "bounds": 1}
    torch.library.opcheck(torch.ops.effebm.langevin_step.default, (x, grad), options)
    options |= {"step_sizes": torch.rand(3).to(compute(dtype)), "row_sums": None}
    for residual in (None, torch.zeros(3, 4, dtype=compute(dtype))):
        in_place = torch.ops.effebm.langevin_step_.default
        torch.library.opcheck(in_place, (x, grad), options | {"residual": residual})


def test_meta_tensors_give_the_shape():
    x = torch.empty(5, 3, 2, dtype=torch.bfloat16, device="meta").transpose(1, 2)
    options = {"compressor": eff.TopK(2), "bounds": (-1, 1)}
    for rng in (KEY, None):
        out = eff.langevin_step(x, x, 0.1, rng=rng, **options)
        assert (out.shape, out.dtype, out.device.type) == ((5, 2, 3), torch.bfloat16, "meta")
        assert out.is_contiguous()
        assert eff.langevin_step_(x, x, 0.1, rng=rng, **options) is x
