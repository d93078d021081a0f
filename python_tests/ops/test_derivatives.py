"""Derivatives of the functional ops: numerically in float64, in closed form, and when compiled."""

import pytest
import torch
from helpers import named, normal
from torch.autograd import gradcheck

import effebm_ext as eff

KEY = eff.Key(3)
BY_OFFSETS = eff.BlockSign(block_offsets=[0, 1, 7, 11])
COMPRESSORS = [
    None,
    eff.TopK(4),
    eff.BlockSign(4),
    eff.BlockSign(100),
    BY_OFFSETS,
    torch.tanh,
]


def leaves(dtype=torch.float64):
    return [normal(3, 11, seed=seed, dtype=dtype).requires_grad_() for seed in (1, 2)]


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=named)
@pytest.mark.parametrize("clip", [None, eff.ClipValue(1.0), eff.ClipNorm(3.0)], ids=named)
@pytest.mark.parametrize("bounds", [None, (-0.9, 0.8), eff.Reflect(-0.9, 0.8)], ids=named)
@pytest.mark.parametrize("step_size", [0.3, torch.tensor([0.1, 0.3, 0.5])], ids=["same", "each"])
def test_the_step_against_finite_differences(compressor, clip, bounds, step_size):
    def step(x, grad):
        return eff.langevin_step(
            x, grad, step_size, compressor=compressor, clip=clip, bounds=bounds, rng=KEY
        )

    assert gradcheck(step, leaves())


@pytest.mark.parametrize("compressor", COMPRESSORS[1:5], ids=named)
def test_compression_against_finite_differences(compressor):
    assert gradcheck(compressor.compress, leaves()[:1])


def test_topk_passes_on_what_it_keeps():
    x = torch.tensor([[1.0, -3.0, 2.0, 0.5]], requires_grad=True)
    eff.topk_compress(x, 2).backward(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert x.grad.tolist() == [[0, 2, 3, 0]]


def test_block_sign_spreads_over_the_block():
    x = torch.tensor([[1.0, -3.0, 2.0, 0.0, 5.0]], requires_grad=True)
    eff.block_sign_compress(x, 4).backward(torch.tensor([[4.0, 8.0, 12.0, 100.0, 7.0]]))
    # sign_j * mean(sign_i * v_i): (4 - 8 + 12) / 4 = 2; the short block holds 5 alone
    assert x.grad.tolist() == [[2, -2, 2, 0, 7]]


def test_blocks_by_offsets_spread_over_their_own_lengths():
    x = torch.tensor([[1.0, -3.0, 2.0, 0.0, 5.0]], requires_grad=True)
    out = eff.block_sign_compress(x, block_offsets=[0, 1, 4, 5])
    out.backward(torch.tensor([[4.0, 9.0, 12.0, 100.0, 7.0]]))
    # The second block: (-9 + 12) / 3 = 1, with the sign of each.
    assert x.grad.tolist() == [[4, -1, 1, 0, 7]]


def test_clip_by_norm_turns_what_it_scales_and_passes_on_the_rest():
    limit = eff.ClipNorm(5.0)
    grad = torch.tensor([[6.0, 8.0], [3.0, 4.0], [0.0, 0.0], [3e20, 4e20]], requires_grad=True)
    y = eff.langevin_step(torch.zeros(4, 2), grad, 2.0, noise_std=0, clip=limit)
    y.backward(-torch.tensor([[1.0, 0.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]))
    # Half of what is across (0.6, 0.8) where the norm is 10; beyond float32 the clipped is zero.
    want = torch.tensor([[0.32, -0.24], [1, 2], [1, 2], [0, 0]])
    torch.testing.assert_close(grad.grad, want)


@pytest.mark.parametrize("shape", [(4,), (3, 0), (0, 5), (2, 3, 4)])
@pytest.mark.parametrize("compressor", [None, eff.TopK(0), eff.BlockSign(2), torch.tanh], ids=named)
def test_chains_of_every_shape_have_derivatives(shape, compressor):
    leaves = [normal(*shape, seed=seed, dtype=torch.float64).requires_grad_() for seed in (1, 2)]

    def step(x, grad):
        options = {"compressor": compressor, "clip": eff.ClipNorm(0.5), "bounds": (-2, 1)}
        return eff.langevin_step(x, grad, 0.3, rng=KEY, **options)

    assert gradcheck(step, leaves)


def test_chains_are_clipped_by_their_own_norms():
    x, grad = leaves()
    step = {"step_size": 0.3, "clip": eff.ClipNorm(3.0), "rng": KEY}
    (whole,) = torch.autograd.grad(eff.langevin_step(x, grad, **step).square().sum(), grad)
    alone = grad[1:2].detach().requires_grad_()
    step["rng"] = eff.Key(KEY.seed, first_chain=1)
    (one,) = torch.autograd.grad(eff.langevin_step(x[1:2], alone, **step).square().sum(), alone)
    torch.testing.assert_close(whole[1:2], one)
    scaled = eff.drift(grad.detach(), clip=step["clip"]).drift.norm(dim=1)
    assert 0 < (scaled < 3.0 - 1e-9).sum() < 3  # some chains are clipped, others are not


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bounds", [None, (-0.5, 0.4), eff.Reflect(-0.5, 0.4)], ids=named)
def test_a_function_has_the_gradients_of_the_compressor_it_is(dtype, bounds):
    results = []
    for compressor in (eff.BlockSign(4), eff.BlockSign(4).compress):
        x, grad = leaves(dtype)
        options = {"compressor": compressor, "clip": eff.ClipNorm(3.0), "bounds": bounds}
        eff.langevin_step(x, grad, 0.3, rng=KEY, **options).square().sum().backward()
        results.append((x.grad, grad.grad))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want)
        assert want.abs().sum() > 0


def test_a_key_and_offsets_first_seen_in_inference_mode_can_be_differentiated():
    options = {"rng": eff.Key(2**62 + 11), "compressor": eff.BlockSign(block_offsets=[0, 2, 9, 11])}
    x, grad = leaves()
    with torch.inference_mode():
        eff.langevin_step(x, grad, 0.3, **options)
    eff.langevin_step(x, grad, 0.3, **options).sum().backward()
    assert x.grad.eq(1).all()


@pytest.mark.parametrize(
    ("bounds", "expected"), [((-1.0, 1.0), [1, 0, 0]), (eff.Reflect(-1.0, 1.0), [1, -1, 0])]
)
def test_bounds_stop_and_mirror(bounds, expected):
    x = torch.tensor([[0.5, 1.5, 9.0]], requires_grad=True)
    eff.langevin_step(x, torch.zeros(1, 3), 0.1, noise_std=0.0, bounds=bounds).sum().backward()
    assert x.grad.tolist() == [expected]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_have_the_dtype_of_their_tensor(dtype):
    x, grad = leaves(dtype)
    y = eff.langevin_step(x, grad, 0.5, compressor=eff.BlockSign(4), bounds=(-1, 1), rng=KEY)
    y.sum().backward()
    assert x.grad.dtype == grad.grad.dtype == dtype
    assert grad.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("compressor", "clip"),
    [(None, eff.ClipValue(1.0)), *[(c, eff.ClipNorm(3.0)) for c in COMPRESSORS]],
    ids=named,
)
def test_compiled_gradients_are_the_same(compressor, clip):
    def loss(x, grad):
        options = {"clip": clip, "bounds": eff.Reflect(-0.9, 0.8)}
        y = eff.langevin_step(x, grad, 0.3, compressor=compressor, rng=KEY, **options)
        return y.square().sum()

    x, grad = leaves()
    torch.compiler.reset()
    compiled = torch.autograd.grad(torch.compile(loss, fullgraph=True)(x, grad), (x, grad))
    eager = torch.autograd.grad(loss(x, grad), (x, grad))
    torch.testing.assert_close(compiled, eager)


def test_compressors_made_anew_do_not_compile_anew():
    from torch._dynamo.testing import CompileCounterWithBackend

    def loss(x):
        compressor = eff.BlockSign(block_offsets=[0, 1, 7, 11])
        return (compressor.compress(x) * x).sum()

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(loss, backend=counter, fullgraph=True)
    for seed in range(4):
        x = normal(3, 11, seed=seed).requires_grad_()
        torch.testing.assert_close(*(torch.autograd.grad(f(x), x) for f in (compiled, loss)))
    assert counter.frame_count == 1


def test_without_leaves_nothing_is_recorded():
    x, grad = (t.detach() for t in leaves())
    assert eff.langevin_step(x, grad, 0.1).grad_fn is None
    x.requires_grad_()
    with torch.no_grad():
        assert eff.langevin_step(x, grad, 0.1).grad_fn is None
