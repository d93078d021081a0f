"""perturbed_pair: the two batches of finite-difference score matching."""

import itertools
import math

import pytest
import torch
from helpers import DTYPES, READ_ONLY_LAYOUTS, assert_same_bits, expected, normal, on

import effebm_ext as eff
from effebm_ext.ops.checks import compute_dtype
from effebm_ext.ops.perturb import PerturbedPair, perturbed_pair_reference

KEY = eff.Key(-17, offset=2**33 + 5, first_chain=2**31)
NAMES = {"seed": KEY.seed, "offset": KEY.offset, "first_chain": KEY.first_chain}
X = torch.zeros(3, 4)
DIMS = [1, 3, 4, 5, 1023, 1024, 1025, 3000]
# Numbers, one value for all rows, and one for each of five; with noise, without, and in some rows.
SCALARS = [
    (0.7, 0.0),
    (2, 0.3),
    (torch.tensor(0.1), torch.tensor(1.5)),
    (torch.tensor([0.1, 0.0, 2.0, 1e-3, 5.0]), torch.tensor([0.0, 1.0, 0.1, 0.0, 1e-3])),
]


def assert_pair(got, want):
    """Equal bits, but for the points of float64 states, where the reference's fma may be off."""
    assert isinstance(got, PerturbedPair)
    assert got.x.is_contiguous()
    assert_same_bits(got.noise_dot, want.noise_dot)
    if got.x.dtype != torch.float64:
        assert_same_bits(got.x, want.x)
        return
    assert got.x.shape == want.x.shape
    torch.testing.assert_close(got.x.cpu(), want.x, rtol=2 * 2.0**-52, atol=2.0**-52)


def reference(x, radius, **options):
    return expected(perturbed_pair_reference, x, radius, **options, **NAMES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize(("radius", "noise_std"), SCALARS)
def test_every_size_equals_the_reference(device, dtype, dim, radius, noise_std):
    x = normal(5, dim, dtype=dtype, device=device)
    radius, noise_std = on(device, (radius, noise_std))
    got = eff.perturbed_pair(x, radius, noise_std=noise_std, rng=KEY)
    assert_pair(got, reference(x, radius, noise_std=noise_std))
    if isinstance(noise_std, float) and noise_std == 0:
        assert_same_bits(got.noise_dot, torch.zeros(5, dtype=compute_dtype(dtype)))
        want = reference(x, radius)
        assert_same_bits(got.x, want.x)  # without noise there is no fma


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (5,), (3, 0), (0, 0), (2, 3, 0), (5, 2, 2, 3)])
def test_every_shape_equals_the_reference(device, dtype, shape):
    x = normal(*shape, dtype=dtype, device=device)
    got = eff.perturbed_pair(x, 0.5, noise_std=0.3, rng=KEY)
    assert got.x.shape == (2, *shape)
    assert got.x.dtype == dtype
    assert got.noise_dot.shape == shape[:1]
    assert_pair(got, reference(x, 0.5, noise_std=0.3))


def test_sums_of_sums_of_sums_keep_their_order(device):
    x = torch.zeros(1, 2**20 + 5, device=device)
    got = eff.perturbed_pair(x, 3.0, noise_std=1.0, rng=KEY)
    assert_pair(got, reference(x, 3.0, noise_std=1.0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(101, 17), (9, 1025), (2, 3000), (1, 33_000)])
def test_bits_do_not_depend_on_threads_or_on_how_rows_are_split(device, dtype, shape):
    x = normal(*shape, dtype=dtype, device=device)
    noise_std = torch.linspace(0, 1, shape[0], device=device)
    threads = torch.get_num_threads()
    runs = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            runs.append(eff.perturbed_pair(x, 0.3, noise_std=noise_std, rng=KEY))
    finally:
        torch.set_num_threads(threads)
    cut = shape[0] // 2
    second = eff.Key(KEY.seed, KEY.offset, KEY.first_chain + cut)
    head = eff.perturbed_pair(x[:cut], 0.3, noise_std=noise_std[:cut], rng=KEY)
    tail = eff.perturbed_pair(x[cut:], 0.3, noise_std=noise_std[cut:], rng=second)
    joined = [torch.cat([head.x, tail.x], 1), torch.cat([head.noise_dot, tail.noise_dot])]
    for other in (*runs[1:], joined):
        for got, want in zip(other, runs[0], strict=True):
            assert_same_bits(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", sorted(READ_ONLY_LAYOUTS))
def test_strides_do_not_matter(device, dtype, layout):
    x = READ_ONLY_LAYOUTS[layout](normal(4, 3, 8, dtype=dtype, device=device))
    before = x.clone()
    got = eff.perturbed_pair(x, 0.5, noise_std=0.3, rng=KEY)
    want = eff.perturbed_pair(x.contiguous(), 0.5, noise_std=0.3, rng=KEY)
    for one, other in zip(got, want, strict=True):
        assert_same_bits(one, other)
    assert_same_bits(x, before)


def test_scalars_of_rows_may_have_any_dtype_and_strides(device):
    x = normal(4, 10, device=device)
    radius, noise_std = (normal(4, seed=seed, device=device).abs() for seed in (0, 1))
    radius = radius.double()
    want = eff.perturbed_pair(x, radius.float(), noise_std=noise_std, rng=KEY)
    got = eff.perturbed_pair(
        x, torch.stack([radius, -radius], 1)[:, 0], noise_std=noise_std.expand(3, 4)[2], rng=KEY
    )
    rows = [
        eff.perturbed_pair(
            x[i : i + 1], radius[i].item(), noise_std=noise_std[i].item(),
            rng=eff.Key(KEY.seed, KEY.offset, KEY.first_chain + i),
        )
        for i in range(4)
    ]  # fmt: skip
    joined = torch.cat([r.x for r in rows], 1), torch.cat([r.noise_dot for r in rows])
    for other in (got, joined):
        for one, wanted in zip(other, want, strict=True):
            assert_same_bits(one, wanted)


def test_the_noise_is_that_of_a_langevin_step(device):
    x = normal(5, 1030, device=device)
    centre = eff.langevin_step(x, x, 0.0, noise_std=0.6, rng=KEY)
    got = eff.perturbed_pair(x, 0.0, noise_std=0.6, rng=KEY)
    assert_same_bits(got.x, torch.stack([centre, centre]))
    assert_same_bits(got.noise_dot, torch.zeros(5))  # v is a row of zeros


def test_keys_and_generators_repeat_and_advance(device):
    x = normal(3, 50, device=device)

    def draw(rng):
        return eff.perturbed_pair(x, 1.0, noise_std=1.0, rng=rng)

    assert_same_bits(draw(KEY).x, draw(KEY).x)
    others = [draw(key).x for key in (KEY, KEY.at(1), eff.Key(KEY.seed + 1), eff.Key(3, 2**40))]
    for one, other in itertools.combinations(others, 2):
        assert (one != other).float().mean() > 0.99
    torch.manual_seed(3)
    first, second = draw(None), draw(None)
    torch.manual_seed(3)
    assert_same_bits(draw(None).x, first.x)
    assert not torch.equal(second.x, first.x)


@pytest.mark.parametrize("dim", [1, 2, 5, 784, 3000])
def test_directions_have_the_radius(device, dim):
    """The norm's error is that of a sum and a few roundings; a row of one number has two v."""
    radius = torch.tensor([0.0, 1e-3, 1.0, 20.0], dtype=torch.float64, device=device)
    x = torch.zeros(4, dim, device=device)
    plus, minus = eff.perturbed_pair(x, radius, rng=KEY).x.double()
    assert torch.equal(plus, -minus)
    torch.testing.assert_close(plus.norm(dim=1), radius.float().double(), rtol=1e-6, atol=0)
    wide = eff.perturbed_pair(x.double(), radius, rng=KEY).x
    torch.testing.assert_close(wide[0].norm(dim=1), radius, rtol=1e-14, atol=0)


def draws(kernels):
    """The emulator is slow, and its bits are those of the CPU."""
    return 500 if kernels == "emulated cuda" else 20_000


@pytest.mark.parametrize("dim", [1, 2, 3, 8])
def test_directions_are_uniform_on_the_sphere(device, dim, kernels):
    """``E v = 0`` and ``E v v^T = r^2 / d I``, which with the length is what the estimators ask;
    ``E v_i^4 = 3 r^4 / (d (d + 2))`` tells a sphere from other sets of that covariance."""
    n, radius = draws(kernels), 2.0
    x = torch.zeros(n, dim, device=device)
    v = eff.perturbed_pair(x, radius, rng=KEY).x[0].cpu().double() / radius
    error = 5 / math.sqrt(n)  # five standard errors of a quantity of standard deviation 1
    assert v.mean(0).abs().max() < error / math.sqrt(dim)
    fourth = 3 / (dim * (dim + 2))
    second = v.T @ v / n - torch.eye(dim, dtype=torch.float64) / dim
    of_square = math.sqrt(max(fourth - 1 / dim**2, 0))
    assert second.diagonal().abs().max() < error * of_square + 1e-6
    of_product = math.sqrt(fourth / 3)
    assert (second - second.diag().diag()).abs().max() < error * of_product
    # v_i^8 has expectation 105 / (d (d + 2) (d + 4) (d + 6)).
    eighth = 105 / (dim * (dim + 2) * (dim + 4) * (dim + 6))
    of_fourth = math.sqrt(max(eighth - fourth**2, 0))
    assert (v**4).mean(0).sub(fourth).abs().max() < error * of_fourth + 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [1, 5, 1025, 3000])
def test_noise_dot_is_the_product_of_direction_and_noise(device, dtype, dim):
    x, noise_std = torch.zeros(6, dim, dtype=dtype, device=device), 0.8
    plus, minus = eff.perturbed_pair(x, 1.5, noise_std=noise_std, rng=KEY).x.double()
    got = eff.perturbed_pair(x, 1.5, noise_std=noise_std, rng=KEY).noise_dot.double()
    v, noise = (plus - minus) / 2, (plus + minus) / 2
    direct = (v * noise).sum(1)
    unit = torch.finfo(dtype).eps
    # Terms of about r s / d, and the rounding of points of about s to recover them from.
    torch.testing.assert_close(got, direct, rtol=8 * unit, atol=30 * unit)
    assert direct.abs().max() > 0.1


def test_directions_are_independent_of_the_noise(device, kernels):
    """noise_dot is normal with standard deviation r s whatever d, and centred."""
    n = draws(kernels)
    x = torch.zeros(n, 4, device=device)
    got = eff.perturbed_pair(x, 2.0, noise_std=0.5, rng=KEY).noise_dot.double()
    assert got.mean().abs() < 5 / math.sqrt(n)
    assert (got.square().mean() - 1).abs() < 5 * math.sqrt(2 / n)


def test_infinite_and_nan_states_stay_in_their_row(device):
    x = torch.tensor([[1.0, math.nan], [math.inf, 1.0], [1.0, 2.0]], device=device)
    got = eff.perturbed_pair(x, 1.0, noise_std=1.0, rng=KEY)
    finite = [[True, False], [False, True], [True, True]]
    assert got.x.isfinite().tolist() == [finite, finite]
    assert got.noise_dot.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": [0.0]}, TypeError, "x: expected a tensor, got list"),
        ({"x": X.int()}, TypeError, "x: expected float32, .* got torch.int32"),
        ({"x": X[0, 0]}, ValueError, "x: expected shape .* a tensor without axes"),
        ({"radius": -0.1}, ValueError, r"radius: expected a finite number >= 0, got -0\.1"),
        ({"radius": math.nan}, ValueError, "radius: expected a finite number >= 0, got nan"),
        ({"radius": "1"}, TypeError, "radius: expected a number or a tensor, got str"),
        ({"radius": None}, TypeError, "radius: expected a number or a tensor, got NoneType"),
        ({"radius": X}, ValueError, r"radius: .* shape \(\) or \(3,\), got shape \(3, 4\)"),
        ({"noise_std": math.inf}, ValueError, "noise_std: expected a finite number >= 0, got inf"),
        ({"noise_std": X[0]}, ValueError, r"noise_std: .* or \(3,\), got shape \(4,\)"),
        ({"noise_std": None}, TypeError, "noise_std: expected a number or a tensor, got NoneType"),
        ({"rng": 3}, TypeError, "rng: expected a Key, a torch.Generator or None, got int"),
        ({"rng": eff.Key(0, 0, 2**32 - 2)}, ValueError, r"rng: expected chains below 2\*\*32"),
    ],
)
def test_what_is_refused(device, changes, error, message):
    arguments = {"x": X.to(device), "radius": 0.1, **on(device, changes)}
    with pytest.raises(error, match=message):
        eff.perturbed_pair(**arguments)


@pytest.mark.parametrize("name", ["x", "radius", "noise_std"])
def test_it_is_not_differentiable(device, name):
    leaf = torch.ones((3, 4) if name == "x" else (), requires_grad=True, device=device)
    arguments = {"x": X.to(device), "radius": 0.1, name: leaf}
    with pytest.raises(RuntimeError, match=r"perturbed_pair is not diff.*detach\(\) it"):
        eff.perturbed_pair(**arguments)
    with torch.no_grad():
        assert not eff.perturbed_pair(**arguments).x.requires_grad


@pytest.mark.parametrize("as_radius", [float, torch.tensor])
def test_compiled_pairs_have_the_same_bits_and_compile_no_more_than_twice(device, as_radius):
    from torch._dynamo.testing import CompileCounterWithBackend

    def pair(x, radius, key):
        return eff.perturbed_pair(2 * x, radius, noise_std=radius, rng=key)

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(pair, backend=counter, fullgraph=True)
    for i in range(5):
        x, radius = normal(3 + i, 4 + i, device=device), on(device, as_radius(0.1 + i))
        want, got = pair(x, radius, KEY.at(i)), compiled(x, radius, KEY.at(i))
        for one, other in zip(got, want, strict=True):
            assert_same_bits(one, other)
    assert counter.frame_count <= 2


def test_meta_tensors_give_the_shapes():
    x = torch.empty(5, 2, 3, dtype=torch.bfloat16, device="meta").transpose(1, 2)
    got = eff.perturbed_pair(x, 0.1, noise_std=0.1, rng=KEY)
    assert [t.dtype for t in got] == [torch.bfloat16, torch.float32]
    assert [t.shape for t in got] == [(2, 5, 3, 2), (5,)]
    assert got.x.is_contiguous()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 4), (0, 4), (3, 0), (3,)])
def test_opcheck(device, dtype, shape):
    op, key = torch.ops.effebm.perturbed_pair.default, torch.tensor([3, 5], device=device)
    x = normal(*shape, dtype=dtype, device=device)
    each = torch.ones(shape[0], dtype=compute_dtype(dtype), device=device)
    torch.library.opcheck(op, (x, key, 1, 2, 0.5))
    torch.library.opcheck(op, (x.transpose(0, -1).contiguous().transpose(0, -1), key, 1, 2, 0.5),
                          {"radii": each, "noise_stds": each[:1].sum()})  # fmt: skip


def test_the_op_itself_checks_too(device):
    op, x = torch.ops.effebm.perturbed_pair, X.to(device)
    key, each = torch.tensor([0, 0], device=device), torch.ones(4, device=device)
    with pytest.raises(RuntimeError, match="key: expected Long, got Float"):
        op(x, key.float(), 0, 0, 0.1)
    with pytest.raises(RuntimeError, match=r"key: expected int64\[2\]"):
        op(x, key[:1], 0, 0, 0.1)
    with pytest.raises(RuntimeError, match=r"first_chain: expected chains below 2\*\*32, got -1"):
        op(x, key, 0, -1, 0.1)
    with pytest.raises(RuntimeError, match="radius: expected Float, got Double"):
        op(x, key, 0, 0, 0.1, each[:3].double())
    with pytest.raises(RuntimeError, match=r"noise_std: expected shape \(\) or \(n_chains,\)"):
        op(x, key, 0, 0, 0.1, None, 0.0, each)
