"""stochastic_round, and Langevin steps of states that are rounded by it."""

import math

import pytest
import torch
from helpers import LAYOUTS, SPECIAL, expected, normal, on

import effebm_ext as eff
from effebm_ext.ops.langevin_step import langevin_step_reference
from effebm_ext.ops.stochastic_round import from_codes, stochastic_round_reference
from effebm_ext.rng import ROUNDING, STORAGE

SHORT = [torch.bfloat16, torch.float16, torch.float8_e5m2]
LIMITS = (-1.5, 2.0)
KEY = eff.Key(-5, 2**33 + 1, 2**32 - 7)
STREAM = {"seed": KEY.seed, "offset": KEY.offset, "first_chain": KEY.first_chain}


def arguments(dtype):
    return {"limits": LIMITS} if dtype == torch.uint8 else {}


def numbers(*shape):
    """float32 of all magnitudes, with special values at the end."""
    size = math.prod(shape)
    values = normal(size, seed=1) * 2.0 ** torch.randint(-30, 20, (size,))
    special = torch.cat([SPECIAL.float(), torch.tensor([65504.0, 65519.9, 65536.0, 6e-8, 1e-5])])
    n = min(size, len(special))
    values[size - n :] = special[:n]
    return values.reshape(shape)


def bits(t):
    t = t.cpu().contiguous()
    integers = t.view({1: torch.uint8, 2: torch.int16}[t.element_size()])
    return integers.masked_fill(t.float().isnan(), 0)


def assert_same(got, want):
    assert got.dtype == want.dtype
    assert torch.equal(got.cpu().float().isnan(), want.float().isnan())
    assert torch.equal(bits(got), bits(want))


@pytest.mark.parametrize("dtype", [*SHORT, torch.uint8], ids=str)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1,), (3, 7), (2, 5, 8), (7, 1025)], ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "strided"])
def test_every_number_equals_the_reference(device, dtype, shape, layout):
    x = LAYOUTS[layout](numbers(*shape))
    got = eff.stochastic_round(on(device, x), dtype, rng=KEY, **arguments(dtype))
    assert got.device == device
    assert got.is_contiguous()
    assert_same(got, stochastic_round_reference(x, dtype, **STREAM, **arguments(dtype)))


@pytest.mark.parametrize("dtype", SHORT, ids=str)
def test_numbers_that_the_dtype_holds_stay(dtype):
    integer = {1: torch.uint8, 2: torch.int16}[dtype.itemsize]
    every = torch.arange(2 ** (8 * dtype.itemsize)).to(integer).view(dtype)
    for offset in range(3):
        got = eff.stochastic_round(every.float().reshape(2, -1), dtype, rng=eff.Key(1, offset))
        assert_same(got.flatten(), every)


@pytest.mark.parametrize("dtype", [*SHORT, torch.uint8], ids=str)
@pytest.mark.parametrize("value", [1.0 + 2**-9, -0.3, 1.2e-5, 3.1e-8])
def test_the_mean_is_the_number(dtype, value):
    n = 100_000
    x = torch.full((n, 1), value)
    rounded = eff.stochastic_round(x, dtype, rng=eff.Key(3), **arguments(dtype))
    got = from_codes(rounded, LIMITS) if dtype == torch.uint8 else rounded.float()
    neighbours = got.unique()
    assert len(neighbours) <= 2
    spread = float(neighbours.max() - neighbours.min())
    resolution = 2.0**-16 * max(spread, abs(value))  # of the random words
    assert float(got.double().mean()) == pytest.approx(
        float(x[0]), abs=4 * spread / 2 / math.sqrt(n) + resolution + 1e-7
    )


def test_limits_hold_and_codes_come_back():
    x = torch.tensor([[-9.0, -1.5, 2.0, 9.0, math.nan, math.inf, -math.inf]])
    codes = eff.stochastic_round(x, torch.uint8, rng=eff.Key(1), limits=eff.Clamp(*LIMITS))
    assert codes.tolist() == [[0, 0, 255, 255, 0, 255, 0]]
    every = torch.arange(256, dtype=torch.uint8)[:, None]
    back = from_codes(every, LIMITS)
    assert float(back.min()) == LIMITS[0]
    assert float(back.max()) == LIMITS[1]
    again = eff.stochastic_round(back, torch.uint8, rng=eff.Key(1), limits=LIMITS)
    assert torch.equal(again, every)


def test_words_depend_on_key_chain_and_purpose_only():
    x = torch.full((50, 9), 1.003)

    def rounded(x, key, **purpose):
        return eff.stochastic_round(x, torch.bfloat16, rng=key, **purpose)

    whole = rounded(x, eff.Key(1, 5))
    assert torch.equal(rounded(x[20:30], eff.Key(1, 5, 20)), whole[20:30])
    for key in (eff.Key(2, 5), eff.Key(1, 6), eff.Key(1, 5, 1)):
        assert not torch.equal(rounded(x, key), whole)
    assert torch.equal(rounded(x, eff.Key(1, 5), purpose=ROUNDING), whole)
    assert not torch.equal(rounded(x, eff.Key(1, 5), purpose=STORAGE), whole)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"x": torch.zeros(2).double()}, TypeError, "x: expected float32, got torch.float64"),
        ({"dtype": torch.int8}, TypeError, "dtype: expected bfloat16, float16, float8_e5m2 or"),
        ({"dtype": torch.uint8}, ValueError, "limits: expected them for uint8 only, got None"),
        ({"limits": (0, 1)}, ValueError, "limits: expected them for uint8 only"),
        (
            {"dtype": torch.uint8, "limits": (1, 1)},
            ValueError,
            "limits: expected lower < upper",
        ),
        ({"rng": eff.Key(0, 0, 2**32 - 1)}, ValueError, "expected chains below"),
        ({"x": torch.zeros(2, requires_grad=True)}, RuntimeError, "stochastic_round"),
    ],
)
def test_what_is_refused(given, error, message):
    call = {"x": torch.zeros(2, 3), "dtype": torch.bfloat16, "rng": eff.Key(0), **given}
    with pytest.raises(error, match=message):
        eff.stochastic_round(call.pop("x"), call.pop("dtype"), **call)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: torch.zeros(2, 3).double()}, "x: expected float32"),
        ({1: torch.zeros(2, 3)}, "out: expected bfloat16"),
        ({1: torch.zeros(3, 2).bfloat16()}, "out: expected the shape of x"),
        ({2: torch.zeros(2)}, "key: expected"),
        ({4: 2**32 - 1}, "first_chain: expected"),
        ({5: 256}, "purpose: expected 0 to 255"),
        ({1: torch.zeros(2, 3).byte()}, "lower: expected less than upper"),
    ],
)
def test_what_the_raw_op_refuses(change, message):
    key = torch.zeros(2, dtype=torch.int64)
    call = [torch.zeros(2, 3), torch.zeros(2, 3).bfloat16(), key, 0, 0, ROUNDING, 0.0, 0.0]
    for place, value in change.items():
        call[place] = value
    with pytest.raises(RuntimeError, match=message):
        torch.ops.effebm.stochastic_round(*call)


def test_the_op_follows_the_rules_of_torch():
    key = torch.tensor([3, 0])
    call = (normal(3, 5), torch.zeros(3, 5).half(), key, 0, 0, ROUNDING, 0.0, 0.0)
    torch.library.opcheck(torch.ops.effebm.stochastic_round.default, call)


def test_a_compiled_function_rounds_alike():
    def rounded(x):
        return eff.stochastic_round(x, torch.bfloat16, rng=eff.Key(7))

    x = normal(4, 6)
    compiled = torch.compile(rounded, fullgraph=True, backend="aot_eager")
    assert_same(compiled(x), rounded(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_step_is_rounded_by_the_words_of_its_key(device, dtype):
    x, grad = normal(5, 33, dtype=dtype), normal(5, 33, seed=1, dtype=dtype)
    exact, _ = expected(langevin_step_reference, x.float(), grad.float(), 0.1, **STREAM)
    want = stochastic_round_reference(exact, dtype, **STREAM)
    options = {"stochastic_rounding": True, "rng": KEY}
    got = eff.langevin_step(on(device, x), on(device, grad), 0.1, **options)
    assert_same(got, want)
    moved = eff.langevin_transition(on(device, x), on(device, grad), 0.1, **options)
    assert_same(moved.x, want)
    delta = want.float() - x.float()
    torch.testing.assert_close(moved.drift_dot_delta.cpu(), (grad.float() * delta).sum(1))
    black_box = eff.langevin_step(
        on(device, x), on(device, grad), 0.1, compressor=lambda u: u, **options
    )
    assert_same(black_box, want)


def test_a_step_too_small_for_the_dtype_moves_the_mean():
    """1/1000 of the distance of two neighbours: to nearest, nothing ever moves."""
    x = torch.ones(1000, 1000, dtype=torch.bfloat16)
    grad = torch.full_like(x, -1.0)
    nearest = eff.langevin_step(x, grad, 2 * 2**-17, noise_std=0)
    assert torch.equal(nearest, x)
    rounded = eff.langevin_step(
        x, grad, 2 * 2**-17, noise_std=0, stochastic_rounding=True, rng=eff.Key(1)
    )
    moved = float((rounded.float() - 1).mean())
    assert moved == pytest.approx(2**-17, rel=4 / math.sqrt(10**6 * 2**-10))


@pytest.mark.parametrize("op", [eff.langevin_step, eff.langevin_step_, eff.langevin_transition])
def test_long_states_refuse_stochastic_rounding(op):
    x = normal(2, 3)
    with pytest.raises(ValueError, match="stochastic_rounding: expected a state of bfloat16"):
        op(x, x.clone(), 0.1, stochastic_rounding=True)


def test_a_sampler_rounds_its_states_and_replays_them():
    sampler = eff.Langevin(
        lambda x: x.float().square().sum(1) / 2,
        step_size=0.1,
        compressor=eff.BlockSign(4),
        stochastic_rounding=True,
    )
    x0 = normal(3, 8, dtype=torch.bfloat16)
    run = sampler.run(x0, 5, rng=eff.Key(2))
    packed = sampler.run(x0, 5, rng=eff.Key(2), trajectory="packed")
    assert_same(packed.trajectory.replay(), run.trajectory)
    state = x0.clone()
    for step in range(5):
        eff.langevin_step_(
            state,
            state.clone(),
            0.1,
            compressor=eff.BlockSign(4),
            stochastic_rounding=True,
            rng=eff.Key(2, step),
        )
    assert_same(run.x, state)


def test_derivatives_pass_a_stochastic_rounding():
    x = normal(2, 4, dtype=torch.bfloat16).requires_grad_()
    grad = normal(2, 4, seed=1, dtype=torch.bfloat16).requires_grad_()
    out = eff.langevin_step(x, grad, 0.5, stochastic_rounding=True, rng=eff.Key(1))
    out.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    assert torch.equal(grad.grad, torch.full_like(x, -0.25))


def test_vmap_numbers_the_chains_of_a_rounded_step_on():
    x, grad = (normal(2, 3, 4, seed=s, dtype=torch.bfloat16) for s in range(2))

    def step(x, grad):
        return eff.langevin_step(
            x, grad, 0.1, noise_std=0, stochastic_rounding=True, rng=eff.Key(1)
        )

    got = torch.vmap(step, randomness="different")(x, grad)
    assert_same(got.flatten(0, 1), step(x.flatten(0, 1), grad.flatten(0, 1)))
    with pytest.raises(RuntimeError, match="expected randomness='different'"):
        torch.vmap(step)(x, grad)
