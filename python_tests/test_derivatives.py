"""Derivatives of the functional ops: numerically in float64, in closed form, and when compiled."""

import pytest
import torch
from helpers import normal
from torch.autograd import gradcheck

import effebm_ext as eff

KEY = eff.Key(3)
COMPRESSORS = [None, eff.TopK(4), eff.BlockSign(4), eff.BlockSign(100)]


def leaves(dtype=torch.float64):
    return [normal(3, 11, seed=seed, dtype=dtype).requires_grad_() for seed in (1, 2)]


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=str)
@pytest.mark.parametrize("clip", [None, eff.ClipValue(1.0)], ids=str)
@pytest.mark.parametrize("bounds", [None, (-0.9, 0.8), eff.Reflect(-0.9, 0.8)], ids=str)
@pytest.mark.parametrize("step_size", [0.3, torch.tensor([0.1, 0.3, 0.5])], ids=["same", "each"])
def test_the_step_against_finite_differences(compressor, clip, bounds, step_size):
    def step(x, grad):
        return eff.langevin_step(
            x, grad, step_size, compressor=compressor, clip=clip, bounds=bounds, rng=KEY
        )

    assert gradcheck(step, leaves())


@pytest.mark.parametrize("compressor", COMPRESSORS[1:], ids=str)
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


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=str)
def test_compiled_gradients_are_the_same(compressor):
    def loss(x, grad):
        options = {"clip": eff.ClipValue(1.0), "bounds": eff.Reflect(-0.9, 0.8)}
        y = eff.langevin_step(x, grad, 0.3, compressor=compressor, rng=KEY, **options)
        return y.square().sum()

    x, grad = leaves()
    torch.compiler.reset()
    compiled = torch.autograd.grad(torch.compile(loss, fullgraph=True)(x, grad), (x, grad))
    eager = torch.autograd.grad(loss(x, grad), (x, grad))
    torch.testing.assert_close(compiled, eager)


def test_without_leaves_nothing_is_recorded():
    x, grad = (t.detach() for t in leaves())
    assert eff.langevin_step(x, grad, 0.1).grad_fn is None
    x.requires_grad_()
    with torch.no_grad():
        assert eff.langevin_step(x, grad, 0.1).grad_fn is None
