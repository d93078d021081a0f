"""Derivatives in forward mode and by torch.func, against plain PyTorch and finite differences."""

import itertools

import pytest
import torch
from helpers import named, normal
from tangents import tangent_of
from torch.autograd import gradcheck, gradgradcheck
from torch.func import hessian, jacfwd, jacrev, jvp, linearize

import effebm_ext as eff
from effebm_ext.energies import score_of

KEY = eff.Key(3)
OFFSETS = (0, 1, 3, 5)
COMPRESSORS = [
    None,
    eff.TopK(2),
    eff.BlockSign(2),
    eff.BlockSign(100),
    eff.BlockSign(block_offsets=OFFSETS),
    torch.tanh,
]
CLIPS = [None, eff.ClipValue(0.8), eff.ClipNorm(1.5)]
BOUNDS = [None, (-0.9, 0.8), eff.Reflect(-0.9, 0.8)]
STEPS = list(itertools.product(COMPRESSORS, CLIPS, BOUNDS))
IDS = ["-".join(named(option) or repr(option) for option in step) for step in STEPS]
EACH = torch.tensor([0.3, 0.9])


def pair(dtype=torch.float64):
    return [normal(2, 5, seed=seed, dtype=dtype) for seed in (1, 2)]


def stepper(compressor, clip, bounds, step_size=EACH, **options):
    options = {"compressor": compressor, "clip": clip, "bounds": bounds, "rng": KEY} | options
    return lambda x, grad: eff.langevin_step(x, grad, step_size, **options)


def dense_block_sign(u, offsets):
    blocks = [u[:, a:b] for a, b in itertools.pairwise(offsets)]
    return torch.cat([b.sign() * b.abs().mean(1, keepdim=True) for b in blocks], 1)


def dense_compressed(compressor, u):
    """In plain PyTorch, with the derivative that PyTorch finds."""
    if compressor is None:
        return u
    if isinstance(compressor, eff.TopK):
        kept = u.detach().abs().topk(compressor.k, dim=1).indices
        return u * torch.zeros_like(u).scatter(1, kept, 1.0)
    if isinstance(compressor, eff.BlockSign):
        size = compressor.block_size
        return dense_block_sign(u, compressor.block_offsets or (*range(0, 5, size), 5))
    return compressor(u)


def dense_step(compressor, clip, bounds):
    def step(x, grad):
        u = grad
        if isinstance(clip, eff.ClipValue):
            u = u.clamp(-clip.limit, clip.limit)
        elif clip is not None:
            norm = u.norm(dim=1, keepdim=True)
            u = torch.where(norm > clip.limit, u * (clip.limit / norm), u)
        c = dense_compressed(compressor, u)
        rest = torch.zeros(2, 5, dtype=x.dtype)
        state = x - EACH[:, None] / 2 * c + eff.langevin_step(rest, rest, EACH, rng=KEY)
        if isinstance(bounds, eff.Reflect):
            low, high = bounds.lower, bounds.upper
            state = torch.where(state > high, 2 * high - state, state)
            state = torch.where(state < low, 2 * low - state, state)
            return state.clamp(low, high)
        return state if bounds is None else state.clamp(*bounds)

    return step


@pytest.mark.parametrize(("compressor", "clip", "bounds"), STEPS, ids=IDS)
def test_the_step_in_both_modes_against_finite_differences(compressor, clip, bounds):
    step = stepper(compressor, clip, bounds)
    leaves = [t.requires_grad_() for t in pair()]
    batched = {"check_batched_grad": True, "check_batched_forward_grad": True}
    assert gradcheck(step, leaves, check_forward_ad=True, **batched)


@pytest.mark.parametrize("compressor", COMPRESSORS[1:5], ids=named)
def test_compression_in_both_modes_against_finite_differences(compressor):
    leaf = pair()[0].requires_grad_()
    batched = {"check_batched_grad": True, "check_batched_forward_grad": True}
    assert gradcheck(compressor.compress, leaf, check_forward_ad=True, **batched)
    assert gradgradcheck(
        compressor.compress, leaf, check_fwd_over_rev=True, check_batched_grad=True
    )


@pytest.mark.parametrize(("compressor", "clip", "bounds"), STEPS, ids=IDS)
def test_torch_func_agrees_with_plain_pytorch(compressor, clip, bounds):
    step, dense = stepper(compressor, clip, bounds), dense_step(compressor, clip, bounds)
    points, tangents = tuple(pair()), tuple(t.flip(1) for t in pair())
    close = torch.testing.assert_close
    close(jvp(step, points, tangents), jvp(dense, points, tangents))
    want = torch.autograd.functional.jacobian(dense, points)
    for jacobian in (jacfwd, jacrev):
        close(jacobian(step, argnums=(0, 1))(*points), want)
    close(linearize(step, *points)[1](*tangents), jvp(dense, points, tangents)[1])

    def loss(step):
        return lambda x, grad: (step(x, grad).square().sum(1) ** 2).sum()

    want = torch.autograd.functional.hessian(loss(dense), points)
    for outer, inner in itertools.product((jacfwd, jacrev), repeat=2):
        close(outer(inner(loss(step), argnums=(0, 1)), argnums=(0, 1))(*points), want)


def test_tangents_of_compressed_tensors_in_closed_form():
    x, t = torch.tensor([[1.0, 3.0, 2.0, -5.0]]), torch.tensor([[4.0, 8.0, 12.0, 7.0]])
    assert jvp(lambda a: eff.topk_compress(a, 2), (x,), (t,))[1].tolist() == [[0, 8, 0, 7]]
    got = jvp(lambda a: eff.block_sign_compress(a, 3), (x,), (t,))[1]
    assert got.tolist() == [[8, 8, 8, 7]]  # (4 + 8 + 12) / 3; the short block has one entry
    step = jvp(lambda a: eff.langevin_step(a, a, 0.5, noise_std=0.0), (x,), (t,))[1]
    assert step.tolist() == [[3, 6, 9, 5.25]]


def test_second_derivatives_of_compressed_tensors():
    x = torch.tensor([[1.0, 3.0, 2.0, -5.0]], dtype=torch.float64)
    kept = hessian(lambda a: eff.topk_compress(a, 2).square().sum())(x).reshape(4, 4)
    assert kept.tolist() == torch.diag(torch.tensor([0.0, 2, 0, 2])).tolist()
    signed = hessian(lambda a: eff.block_sign_compress(a, 4).square().sum())(x).reshape(4, 4)
    sign = x.sign()
    torch.testing.assert_close(signed, 2 * sign.T @ sign / 4)


@pytest.mark.parametrize("leaf", [False, True])
@pytest.mark.parametrize("compressor", COMPRESSORS, ids=named)
def test_dual_tensors_carry_their_tangents(compressor, leaf):
    step = stepper(compressor, eff.ClipNorm(1.5), (-0.9, 0.8))
    points, tangents = pair(), [t.flip(1) for t in pair()]
    _, want = jvp(step, tuple(points), tuple(tangents))
    inputs = [t.requires_grad_(leaf) for t in points]
    torch.testing.assert_close(tangent_of(step, *inputs, tangents=tangents), want)
    with torch.no_grad():  # which is of the reverse mode
        torch.testing.assert_close(tangent_of(step, *inputs, tangents=tangents), want)
    with torch.inference_mode():  # which is of both
        assert tangent_of(step, *inputs, tangents=tangents) is None
    assert want.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("compressor", COMPRESSORS, ids=named)
def test_tangents_have_the_dtype_of_their_tensor(dtype, compressor):
    points = [t.to(dtype) for t in pair()]
    tangents = [t.flip(1) for t in points]
    step = stepper(compressor, eff.ClipNorm(1.5), eff.Reflect(-0.9, 0.8))
    got = jvp(step, tuple(points), tuple(tangents))[1]
    assert got.dtype == dtype
    exact = [tuple(t.double() for t in ts) for ts in (points, tangents)]
    want = jvp(step, *exact)[1]
    torch.testing.assert_close(got.double(), want, rtol=2 * torch.finfo(dtype).eps, atol=1e-2)


@pytest.mark.parametrize("shape", [(4,), (3, 0), (0, 5), (2, 3, 4)])
@pytest.mark.parametrize("compressor", [None, eff.TopK(0), eff.BlockSign(2), torch.tanh], ids=named)
def test_chains_of_every_shape_have_tangents(shape, compressor):
    points = tuple(normal(*shape, seed=seed, dtype=torch.float64) for seed in (1, 2))
    step = stepper(compressor, eff.ClipNorm(0.5), (-2, 1), 0.3)
    leaves = [t.requires_grad_() for t in points]
    assert gradcheck(step, leaves, check_forward_ad=True)
    assert jacrev(step)(*points).shape == (*shape, *shape)


def test_a_gradient_of_zero_has_second_derivatives_when_clipped():
    x, zero = torch.ones(2, 3), torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]])

    def loss(grad):
        return eff.langevin_step(x, grad, 2.0, noise_std=0.0, clip=eff.ClipNorm(1.0)).square().sum()

    for second in (hessian, lambda f: jacrev(jacrev(f))):
        got = second(loss)(zero)
        torch.testing.assert_close(got[0, :, 0], 2 * torch.eye(3))
        assert got.isfinite().all()


def test_a_score_of_a_dual_state_has_a_tangent():
    x, t = pair()
    score = score_of(lambda x: x.pow(4).sum(1) / 4)
    torch.testing.assert_close(tangent_of(score, x, tangents=[t]), -3 * x.square() * t)
    assert not x.requires_grad
