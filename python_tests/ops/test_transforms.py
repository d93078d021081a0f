"""The ops within transforms: those without derivatives refuse at every level, and torch.compile."""

import pytest
import torch
from helpers import normal
from tangents import tangent_of
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

import effebm_ext as eff
from effebm_ext.rng import key_arguments

KEY = eff.Key(3)

NOT_DIFFERENTIABLE = {
    "langevin_step_": lambda x: eff.langevin_step_(x.clone(), x, 0.1, rng=KEY),
    "langevin_step_, black box": lambda x: eff.langevin_step_(
        x.clone(), x, 0.1, rng=KEY, compressor=torch.tanh
    ),
    "langevin_step_, gradient": lambda x: eff.langevin_step_(torch.zeros(2, 5), x, 0.1, rng=KEY),
    "langevin_transition": lambda x: eff.langevin_transition(x, x, 0.1, rng=KEY).x,
    "drift": lambda x: eff.drift(x, compressor=eff.TopK(2)).drift,
    "drift, delta": lambda x: eff.drift(torch.zeros(2, 5), delta=x).drift_dot_delta,
    "perturbed_pair": lambda x: eff.perturbed_pair(x, 0.1, rng=KEY).x,
    "pack": lambda x: eff.BlockSign(2).pack(x.sign()).scales + eff.TopK(5).pack(x).values[:, :3],
    "langevin_step in step_size": lambda x: eff.langevin_step(x.detach(), x.detach(), x[:, 0] ** 2),
    "langevin_step in noise_std": lambda x: eff.langevin_step(
        x.detach(), x.detach(), 0.1, noise_std=x[:, 0] ** 2
    ),
}
DERIVATIVES = {
    "jvp": lambda f, x: jvp(f, (x,), (x,)),
    "jacfwd": lambda f, x: jacfwd(f, randomness="same")(x),
    "dual": lambda f, x: tangent_of(f, x, tangents=[x]),
    "dual without grad mode": lambda f, x: tangent_of(torch.no_grad()(f), x, tangents=[x]),
    "leaf": lambda f, x: f(x.requires_grad_()),
    "grad": lambda f, x: grad(lambda x: f(x).sum())(x),
    "jacrev": lambda f, x: jacrev(f)(x),
    "hessian": lambda f, x: hessian(lambda x: f(x).sum(), argnums=0)(x),
    "jvp within grad": lambda f, x: grad(lambda y: jvp(f, (x,), (y,))[1].sum())(x),
    "grad of a constant within jvp": lambda f, x: jvp(
        lambda x: grad(lambda z: (z * f(x)).sum())(torch.ones(())), (x,), (x,)
    ),
    "a constant of vmap within grad": lambda f, x: grad(
        lambda x: vmap(lambda z: z * f(x), randomness="same")(torch.ones(3)).sum()
    )(x),
}


@pytest.mark.parametrize("derivative", DERIVATIVES.values(), ids=DERIVATIVES)
@pytest.mark.parametrize("op", NOT_DIFFERENTIABLE)
def test_ops_without_derivatives_refuse_at_every_level(op, derivative):
    with pytest.raises(RuntimeError, match=f"^{op.split(',')[0].split()[0]}.* not differentiable"):
        derivative(NOT_DIFFERENTIABLE[op], normal(2, 5))


@pytest.mark.parametrize("op", ["drift", "perturbed_pair"])
@pytest.mark.parametrize("leaf", [False, True])
def test_ops_without_derivatives_refuse_within_vmap(op, leaf):
    def total(x):
        return vmap(NOT_DIFFERENTIABLE[op], randomness="different")(x).sum()

    x = normal(3, 2, 5)
    with pytest.raises(RuntimeError, match="not differentiable"):
        total(x.requires_grad_()) if leaf else grad(total)(x)


@pytest.mark.parametrize("op", [*NOT_DIFFERENTIABLE][:7])
def test_what_is_detached_passes_within_transforms(op):
    x = normal(2, 5)
    want = NOT_DIFFERENTIABLE[op](x)

    def constant(x):
        return NOT_DIFFERENTIABLE[op](x.detach())

    value, tangent = jvp(constant, (x,), (x,))
    assert torch.equal(value, want)
    assert not tangent.any()
    assert not grad(lambda x: (constant(x) + 0 * x.sum()).sum())(x).any()
    got, value = torch.func.grad_and_value(
        lambda x: (torch.no_grad()(NOT_DIFFERENTIABLE[op])(x) * x.sum()).sum()
    )(x)
    torch.testing.assert_close(got, torch.full_like(x, want.sum().item()))


def test_what_a_step_keeps_is_checked_within_transforms():
    x = normal(2, 5)

    def step(x, residual):
        state = x.detach().clone()
        options = {"compressor": torch.tanh, "residual": residual(state), "noise_std": 0.0}
        return (x * eff.langevin_step_(state, x.detach(), 0.1, **options)).sum()

    torch.testing.assert_close(grad(step)(x, torch.zeros_like), x - 0.05 * x.tanh())
    with pytest.raises(RuntimeError, match="do not overlap"):
        grad(step)(x, lambda state: state)


OPS = {
    "block_sign_compress": lambda x: eff.block_sign_compress(x, 3),
    "langevin_step": lambda x: eff.langevin_step(x, x, 0.1, rng=KEY, bounds=(-0.9, 0.8)),
    "black box": lambda x: eff.langevin_step(x, x, 0.1, rng=KEY, compressor=torch.tanh),
}
TRANSFORMS = {
    "jvp": lambda f: lambda x: jvp(f, (x,), (x,))[1],
    "grad": lambda f: grad(lambda x: f(x).square().sum()),
    "grad of vmap": lambda f: grad(lambda x: vmap(f, randomness="same")(x[None]).square().sum()),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("op", OPS)
def test_torch_func_under_compile_is_right_or_refused(op, transform):
    x = normal(2, 5)
    derivative = transform(OPS[op])
    want = derivative(x)
    assert want.abs().sum() > 0
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(derivative, backend="aot_eager")(x), want)
    torch.compiler.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"no transform of torch\.func"):
        torch.compile(derivative, backend="aot_eager", fullgraph=True)(x)


@pytest.mark.parametrize("op", OPS)
def test_dual_tensors_under_compile_are_right_or_refused(op):
    x = normal(2, 5)
    torch.compiler.reset()
    compiled = torch.compile(OPS[op], backend="aot_eager")
    want = tangent_of(OPS[op], x, tangents=[x])
    torch.testing.assert_close(tangent_of(compiled, x, tangents=[x]), want)
    torch.compiler.reset()
    whole = torch.compile(OPS[op], backend="aot_eager", fullgraph=True)
    whole(x)
    # From 2.14 on torch.compile itself refuses dual tensors, before it asks the op.
    message = "no forward-mode level|dual tensor"
    with pytest.raises(torch._dynamo.exc.Unsupported, match=message):
        tangent_of(whole, x, tangents=[x])


def test_functionalize_leaves_the_ops_as_they_are():
    x = normal(2, 5)
    for op in OPS.values():
        assert torch.equal(torch.func.functionalize(op)(x), op(x))


@pytest.mark.parametrize("transform", [grad, lambda f: lambda x: jvp(f, (x,), (x,))[0]])
def test_what_is_first_seen_within_a_transform_is_not_kept(transform):
    x, key = normal(2, 5), eff.Key(2**61 + 17)
    compressor = eff.BlockSign(block_offsets=[0, 2, 5])
    transform(lambda x: eff.langevin_step(x, x, 0.1, rng=key, compressor=compressor).sum())(x)
    assert key_arguments(key, x)[0].data_ptr()  # a tensor of a transform that is over has none
    assert compressor.blocks(x)[1].data_ptr()
