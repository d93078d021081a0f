"""Step sizes and noise of their own for the elements of a chain."""

import pytest
import torch
from helpers import DTYPES, assert_same_bits, normal
from torch.func import jacfwd, jacrev, vmap

import effebm_ext as eff
from effebm_ext.ops.langevin_step import langevin_step_reference

KEY = eff.Key(7, offset=2, first_chain=5)
NAMES = {"seed": KEY.seed, "offset": KEY.offset, "first_chain": KEY.first_chain}
SHAPE = (3, 5, 29)
COMPRESSORS = [None, eff.TopK(ratio=0.3), eff.BlockSign(8), eff.RandomK(40), eff.RandomBlock(60)]


def of_elements(rows, seed=0, dtype=torch.float32):
    """Multiples of a quarter, many of them zero."""
    return (normal(rows, *SHAPE[1:], seed=seed).abs() * 2).floor().to(dtype) / 4


WAYS = {
    "step sizes, shared": (of_elements(1), None),
    "step sizes": (of_elements(3), None),
    "noise, shared": (0.3, of_elements(1, 5)),
    "noise": (torch.tensor([0.1, 0.0, 2.0]), of_elements(3, 5)),
    "both": (of_elements(3), of_elements(1, 5)),
    "no noise": (of_elements(1), 0.0),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compressor", COMPRESSORS, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_steps_are_those_of_the_reference(device, way, compressor, dtype):
    x, grad = (normal(*SHAPE, seed=seed, dtype=dtype) for seed in (0, 1))
    step_size, noise_std = WAYS[way]
    for options in ({}, {"bounds": (-0.8, 0.9), "clip": eff.ClipValue(1.0)}):
        given = {"noise_std": noise_std, "compressor": compressor, **options}
        want, _ = langevin_step_reference(x, grad, step_size, **given, **NAMES)
        state = x.to(device, copy=True)
        eff.langevin_step_(state, grad.to(device), step_size, rng=KEY, **given)
        if dtype == torch.float64:
            torch.testing.assert_close(state.cpu(), want, rtol=1e-14, atol=1e-14)
        else:
            assert_same_bits(state, want)
        new = eff.langevin_step(x.to(device), grad.to(device), step_size, rng=KEY, **given)
        assert_same_bits(new, state)
        move = eff.langevin_transition(x.to(device), grad.to(device), step_size, rng=KEY, **given)
        assert_same_bits(move.x, state)


def test_one_value_for_all_elements_is_a_step_of_this_size(device):
    x, grad = (normal(*SHAPE, seed=seed, device=device) for seed in (0, 1))
    for given in (torch.full((1, *SHAPE[1:]), 0.3), torch.full(SHAPE, 0.3, dtype=torch.float64)):
        state = eff.langevin_step(x, grad, given, rng=KEY)
        assert_same_bits(state, eff.langevin_step(x, grad, torch.tensor(0.3), rng=KEY))


def test_a_mask_of_zeros_lets_elements_rest(device):
    """Inpainting: known pixels stay."""
    x, grad = normal(*SHAPE, device=device), normal(*SHAPE, seed=1, device=device)
    mask = torch.ones(1, *SHAPE[1:], device=device)
    mask[:, :3] = 0
    state = eff.langevin_step(x, grad, 0.3 * mask, rng=KEY)
    assert_same_bits(state[:, :3], x[:, :3])
    assert_same_bits(state[:, 3:], eff.langevin_step(x, grad, 0.3, rng=KEY)[:, 3:])


def test_error_feedback_and_statistics_go_with_them(device):
    x, grad = (normal(*SHAPE, seed=seed, device=device) for seed in (0, 1))
    residual, statistics = torch.zeros_like(x), torch.empty(3, 2, device=device)
    step_size = of_elements(1).to(device)
    options = {"compressor": eff.TopK(20), "residual": residual, "statistics": statistics}
    eff.langevin_step_(x, grad, step_size, rng=KEY, **options)
    assert_same_bits(residual, grad - eff.TopK(20).compress(grad))
    torch.testing.assert_close(statistics[:, 0], grad.square().flatten(1).sum(1))


def test_they_may_lie_in_what_is_written(device):
    residual = of_elements(3).to(device)
    x, grad = (normal(*SHAPE, seed=seed, device=device) for seed in (0, 1))
    twin, memory = x.clone(), residual.clone()
    options = {"compressor": eff.TopK(20), "rng": KEY}
    eff.langevin_step_(x, grad, residual, residual=residual, **options)
    eff.langevin_step_(twin, grad, memory.clone(), residual=memory, **options)
    assert_same_bits(x, twin)
    assert_same_bits(residual, memory)


def test_derivatives():
    x = normal(*SHAPE, dtype=torch.float64)[:, :2, :4]

    step_size = of_elements(3).double()[:, :2, :4]

    def step(x):
        return eff.langevin_step(x, 2 * x, step_size, noise_std=0, rng=KEY)

    assert torch.autograd.gradcheck(step, (x.clone().requires_grad_(),), check_forward_ad=True)
    torch.testing.assert_close(jacrev(step)(x), jacfwd(step)(x))


def test_vmap_folds_them(device):
    x = normal(4, *SHAPE, device=device)
    shared, own = of_elements(1).to(device), of_elements(3).to(device)
    sliced = normal(4, *SHAPE, seed=9, device=device).abs()

    def step(x, step_size):
        return eff.langevin_step(x, x, step_size, noise_std=0, rng=KEY)

    for given in (shared, own):
        got = vmap(lambda s, given=given: step(s, given))(x)
        assert_same_bits(got, torch.stack([step(s, given) for s in x]))
    got = vmap(step)(x, sliced)
    assert_same_bits(got, torch.stack([step(s, v) for s, v in zip(x, sliced, strict=True)]))


def test_compiled(device):
    x, step_size = normal(*SHAPE, device=device), of_elements(1).to(device)

    def step(x, step_size):
        return eff.langevin_step(x, 2 * x, step_size, rng=KEY)

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    assert_same_bits(compiled(x, step_size), step(x, step_size))


@pytest.mark.parametrize("shape", [(2, 5, 29), (1, 5, 28), (3, 5), (1, 3, 5, 29), (3, 1, 1)])
def test_other_shapes_are_refused(shape):
    x = torch.zeros(SHAPE)
    for name in ("step_size", "noise_std"):
        scalars = {"step_size": 0.1} | {name: torch.ones(shape)}
        with pytest.raises(ValueError, match=rf"{name}: expected a number or a tensor of shape"):
            eff.langevin_step(x, x, **scalars)
    number = torch.tensor([1, 2])
    with pytest.raises(RuntimeError, match=r"step_size: expected shape \(\), \(n_chains,\)"):
        torch.ops.effebm.langevin_step(x, x, number, 0, 0, 0.1, torch.ones(shape))
