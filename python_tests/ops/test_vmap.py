"""torch.vmap over the ops: the results of a loop over the slices, or refused."""

import pytest
import torch
from helpers import assert_same_bits, named, normal
from torch.func import grad, jacfwd, jacrev, jvp, vmap

import effebm_ext as eff

KEY = eff.Key(3, first_chain=7)
COMPRESSORS = [
    None,
    eff.TopK(2),
    eff.BlockSign(2),
    eff.BlockSign(block_offsets=[0, 1, 3, 5]),
    torch.tanh,
]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def _no_slow_fallback():
    """PyTorch's own loop for ops without a rule, and its warning, are errors."""
    torch._C._functorch._set_vmap_fallback_enabled(False)
    yield
    torch._C._functorch._set_vmap_fallback_enabled(True)


def slices(*shape, dtype=torch.float32):
    return [normal(*(shape or (4, 3, 5)), seed=seed, dtype=dtype) for seed in (1, 2)]


def loop(function, *tensors):
    return torch.stack([function(*ts) for ts in zip(*tensors, strict=True)])


def noisy(x, grad, step_size=0.3, **options):
    options = {"rng": KEY, "clip": eff.ClipNorm(1.5), "bounds": (-0.9, 0.8)} | options
    return eff.langevin_step(x, grad, step_size, **options)


def quiet(x, grad, step_size=0.3, **options):
    return noisy(x, grad, step_size, noise_std=0.0, **options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("compressor", COMPRESSORS[1:4], ids=named)
def test_compression_of_slices(compressor, dtype):
    x, _ = slices(dtype=dtype)
    want = loop(compressor.compress, x)
    assert_same_bits(vmap(compressor.compress)(x), want)
    for axis in (1, 2):
        moved = x.movedim(0, axis)
        assert_same_bits(vmap(compressor.compress, axis, 1)(moved).movedim(1, 0), want)


@pytest.mark.parametrize(
    "shape", [(4, 3), (4, 2, 3, 5), (4, 3, 0), (4, 0, 5), (0, 3, 5), (1, 3, 5)]
)
def test_slices_of_every_shape(shape):
    x, gradient = slices(*shape)
    for function in (eff.TopK(0).compress, eff.BlockSign(2).compress):
        assert vmap(function)(x).shape == shape
    for randomness in ("same", "different"):
        moved = vmap(noisy, randomness=randomness)(x, gradient)
        assert moved.shape == shape
        if 0 not in shape:
            assert_same_bits(moved[0], noisy(x[0], gradient[0]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("compressor", COMPRESSORS, ids=named)
def test_a_step_without_noise_of_slices(compressor, dtype):
    def step(x, grad):
        return quiet(x, grad, compressor=compressor, rng=None)

    x, gradient = slices(dtype=dtype)
    assert_same_bits(vmap(step)(x, gradient), loop(step, x, gradient))
    assert_same_bits(vmap(step, (0, None))(x, x[0]), loop(lambda x_: step(x_, x[0]), x))
    assert_same_bits(vmap(step, (None, 0))(x[0], x), loop(lambda g: step(x[0], g), x))
    nested = vmap(vmap(step))(x.view(2, 2, 3, 5), gradient.view(2, 2, 3, 5))
    assert_same_bits(nested.flatten(0, 1), loop(step, x, gradient))


SIZES = {
    "one for all": (torch.tensor(0.3), None),
    "one for each chain": (torch.tensor([0.1, 0.3, 0.5]), None),
    "one for each slice": (torch.tensor([0.1, 0.3, 0.5, 0.7]), 0),
    "one for each chain of each slice": (normal(4, 3).abs(), 0),
}


@pytest.mark.parametrize(("sizes", "axis"), SIZES.values(), ids=SIZES)
def test_step_sizes_and_noises_of_slices(sizes, axis):
    def step(x, grad, size):
        return eff.langevin_step(x, grad, size, noise_std=size, rng=KEY, compressor=eff.TopK(2))

    x, gradient = slices()
    each = sizes if axis == 0 else sizes.expand(4, *sizes.shape)
    got = vmap(step, (0, 0, axis), randomness="same")(x, gradient, sizes)
    assert_same_bits(got, loop(step, x, gradient, each))
    got = vmap(step, (0, 0, axis), randomness="different")(x, gradient, sizes)
    each = (each if each.dim() == 2 else each[:, None].expand(4, 3)).flatten()
    assert_same_bits(got.flatten(0, 1), step(x.flatten(0, 1), gradient.flatten(0, 1), each))


def test_different_noise_goes_on_from_slice_to_slice():
    x, gradient = slices()
    got = vmap(noisy, randomness="different")(x, gradient)
    assert_same_bits(got.flatten(0, 1), noisy(x.flatten(0, 1), gradient.flatten(0, 1)))
    both = vmap(vmap(noisy, randomness="different"), randomness="different")
    nested = both(x.view(2, 2, 3, 5), gradient.view(2, 2, 3, 5))
    assert_same_bits(nested.flatten(0, 1), got)


def test_the_same_noise_is_that_of_every_slice_by_itself():
    x, gradient = slices()
    got = vmap(noisy, randomness="same")(x, gradient)
    assert_same_bits(got, loop(noisy, x, gradient))


@pytest.mark.parametrize("rng", [None, torch.Generator(), KEY], ids=["None", "Generator", "Key"])
def test_noise_obeys_the_randomness_of_vmap(rng):
    def states(outer, inner):
        def step(x):
            return eff.langevin_step(x, x, 0.3, rng=rng)

        return vmap(vmap(step, randomness=inner), randomness=outer)(torch.zeros(3, 3, 1, 8))

    assert len({s.sum().item() for s in states("different", "different").flatten(0, 1)}) == 9
    assert len({s.sum().item() for s in states("same", "same").flatten(0, 1)}) == 1
    rows = states("different", "same")
    assert torch.equal(rows[:, 0], rows[:, 1])
    assert not torch.equal(rows[0], rows[1])
    columns = states("same", "different")
    assert torch.equal(columns[0], columns[1])
    assert not torch.equal(columns[:, 0], columns[:, 1])
    for outer, inner in (("error", "different"), ("same", "error")):
        with pytest.raises(RuntimeError, match="randomness"):
            states(outer, inner)


@pytest.mark.parametrize("rng", [None, torch.Generator(), KEY], ids=["None", "Generator", "Key"])
def test_a_step_without_noise_draws_nothing_under_vmap(rng):
    x, gradient = slices()
    got = vmap(lambda x, g: quiet(x, g, rng=rng))(x, gradient)
    assert_same_bits(got, loop(quiet, x, gradient))
    with pytest.raises(TypeError, match="rng: expected a Key"):
        vmap(lambda x, g: quiet(x, g, rng=7))(x, gradient)


def test_drifts_of_slices():
    gradient, delta = slices()
    options = {"compressor": eff.TopK(2), "clip": eff.ClipNorm(1.5)}
    got = vmap(lambda g, d: eff.drift(g, delta=d, **options))(gradient, delta)
    want = [eff.drift(g, delta=d, **options) for g, d in zip(gradient, delta, strict=True)]
    for part, parts in zip(got, zip(*want, strict=True), strict=True):
        assert_same_bits(part, torch.stack(parts))
    alone = vmap(lambda g: eff.drift(g, **options))(gradient)
    assert_same_bits(alone.drift, got.drift)


@pytest.mark.parametrize("radius", [0.1, torch.tensor(0.1), torch.tensor([0.1, 0.2, 0.3])])
def test_perturbed_pairs_of_slices(radius):
    def perturb(x, radius=radius):
        return eff.perturbed_pair(x, radius, noise_std=0.2, rng=KEY)

    x, _ = slices()
    got = vmap(perturb, randomness="same")(x)
    for i, one in enumerate(map(perturb, x)):
        assert_same_bits(got.x[i], one.x)
        assert_same_bits(got.noise_dot[i], one.noise_dot)
    got = vmap(perturb, randomness="different")(x)
    each = radius.repeat(4) if isinstance(radius, torch.Tensor) and radius.dim() else radius
    want = perturb(x.flatten(0, 1), each)
    assert_same_bits(got.x.movedim(0, 1).flatten(1, 2), want.x)
    assert_same_bits(got.noise_dot.flatten(), want.noise_dot)
    with pytest.raises(RuntimeError, match=r"^perturbed_pair with noise under vmap"):
        vmap(perturb)(x)


REFUSED = {
    "langevin_step_": lambda x: eff.langevin_step_(x, x.clone(), 0.1, rng=KEY),
    "langevin_transition": lambda x: eff.langevin_transition(x, x, 0.1, rng=KEY).x,
    "pack": lambda x: eff.TopK(5).pack(x).values,
}


@pytest.mark.parametrize("op", REFUSED)
def test_ops_without_a_rule_refuse(op):
    def within_another(x):
        return vmap(lambda z: z * REFUSED[op](x))(torch.ones(2))

    x = normal(4, 3, 5)
    before = x.clone()
    for function in (REFUSED[op], within_another, grad(lambda x: REFUSED[op](x.detach()).sum())):
        with pytest.raises(RuntimeError, match=f"^{op} under vmap: expected tensors that are not"):
            vmap(function)(x)
    assert torch.equal(x, before)


def test_ops_without_a_rule_take_what_is_not_vmapped():
    x, y = slices()
    for op in REFUSED.values():
        got = vmap(lambda y, op=op: y * op(x[0].clone()))(y)
        assert_same_bits(got, y * op(x[0].clone()))


@pytest.mark.parametrize("sampler", [eff.Langevin, eff.MALA])
@pytest.mark.parametrize("transform", [vmap, lambda f: lambda x: jvp(f, (x,), (x,))])
def test_samplers_refuse_transforms(sampler, transform):
    chains = sampler(lambda x: x.square().sum(1) / 2, step_size=0.1)

    def sample(x):
        state = chains.init(x, rng=KEY)
        chains.step(state)
        return state.x

    with pytest.raises(RuntimeError, match=r"outside the transforms of torch\.func"):
        transform(sample)(normal(4, 3, 5))


@pytest.mark.parametrize("bounds", [None, (-0.9, 0.8), eff.Reflect(-0.9, 0.8)], ids=named)
@pytest.mark.parametrize("compressor", COMPRESSORS, ids=named)
@pytest.mark.parametrize("randomness", ["same", "different"])
def test_derivatives_of_slices(compressor, bounds, randomness):
    def loss(x, grad):
        return noisy(x, grad, compressor=compressor, bounds=bounds).pow(3).sum()

    def each(x, grad):
        return vmap(loss, randomness=randomness)(x, grad)

    def total(x, grad):
        """The same without vmap."""
        if randomness == "same":
            return sum(map(loss, x, grad))
        return loss(x.flatten(0, 1), grad.flatten(0, 1))

    points = slices(dtype=torch.float64)
    want = torch.autograd.grad(total(*[p.requires_grad_() for p in points]), points)
    close = torch.testing.assert_close
    close(torch.autograd.grad(each(*points).sum(), points), want)
    points = tuple(p.detach() for p in points)
    both = {"argnums": (0, 1)}
    close(vmap(grad(loss, **both), randomness=randomness)(*points), want)
    close(grad(lambda *ps: each(*ps).sum(), **both)(*points), want)
    tangent = sum((w * p).sum() for w, p in zip(want, points, strict=True))
    close(jvp(each, points, points)[1].sum(), tangent)
    close(jvp(lambda *ps: each(*ps).sum(), points, points)[1], tangent)
    along = vmap(lambda *ps: jvp(loss, ps, ps)[1], randomness=randomness)(*points)
    close(along.sum(), tangent)


def test_jacobians_of_slices():
    x, _ = slices(dtype=torch.float64)
    step = eff.BlockSign(2).compress
    want = torch.stack([torch.autograd.functional.jacobian(step, t) for t in x])
    for jacobian in (jacrev, jacfwd):
        torch.testing.assert_close(vmap(jacobian(step))(x), want)
        whole = jacobian(vmap(step))(x)
        for i, w in enumerate(want):
            torch.testing.assert_close(whole[i, :, :, i], w)
        assert whole.count_nonzero() == want.count_nonzero()


def test_vectorised_gradients_of_autograd():
    x = normal(3, 5, dtype=torch.float64).requires_grad_()
    for compressor in COMPRESSORS[1:4]:
        y = compressor.compress(x)
        basis = torch.eye(15, dtype=x.dtype).view(15, 3, 5)
        (got,) = torch.autograd.grad(y, x, basis, is_grads_batched=True)
        want = torch.autograd.functional.jacobian(compressor.compress, x)
        torch.testing.assert_close(got.view_as(want), want)
