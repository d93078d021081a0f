"""What langevin_transition and drift refuse, and how they stand with PyTorch's machinery."""

import pytest
import torch
from helpers import DTYPES, assert_same_bits, named, normal, on
from step_cases import NEUTRAL

import effebm_ext as eff
from effebm_ext.ops.checks import compute_dtype

X = torch.zeros(3, 4)
KEY = eff.Key(17)
BY_OFFSETS = eff.BlockSign(block_offsets=[0, 1, 4])
COMPRESSORS = [None, eff.TopK(2), eff.BlockSign(2), BY_OFFSETS, torch.tanh]


@pytest.mark.parametrize("compressor", [eff.TopK(2), torch.tanh])
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": [0.0]}, TypeError, "x: expected a tensor, got list"),
        ({"grad": None}, TypeError, "grad: expected a tensor, got NoneType"),
        ({"grad": X.double()}, TypeError, r"grad: expected torch\.float32 .* got torch\.float64"),
        ({"grad": X[:2]}, ValueError, r"grad: expected the shape of x, \(3, 4\), got \(2, 4\)"),
        ({"step_size": -0.1}, ValueError, r"step_size: expected a finite number >= 0, got -0\.1"),
        ({"step_size": X[:2]}, ValueError, r"step_size: .* or \(3, 4\), got shape \(2, 4\)"),
        ({"noise_std": "1"}, TypeError, "noise_std: expected a number or a tensor, got str"),
        ({"clip": 1.0}, TypeError, "clip: expected ClipValue, ClipNorm or None, got float"),
        ({"bounds": 1.0}, TypeError, r"bounds: expected \(lower, upper\), Reflect or None, got 1"),
        ({"bounds": (1, 0)}, ValueError, r"bounds: expected lower <= upper, got \(1, 0\)"),
        ({"rng": 3}, TypeError, "rng: expected a Key, a torch.Generator or None, got int"),
        ({"compressor": "topk"}, TypeError, "compressor: expected TopK, .* got str"),
        ({"compressor": None}, ValueError, "residual: expected a compressor with it"),
        ({"residual": X[:2]}, ValueError, "residual: expected the shape of x"),
        ({"residual": X.double()}, TypeError, r"residual: expected torch\.float32 .* got"),
        ({"residual": X[:1].expand(3, 4)}, ValueError, "residual: .* an expanded one"),
    ],
)
def test_what_is_refused_leaves_the_residual_as_it_was(device, changes, error, message, compressor):
    residual = torch.ones(3, 4, device=device)
    arguments = {"x": X, "grad": X + 0, "step_size": 0.1, "rng": KEY, "compressor": compressor}
    arguments = {"residual": residual, **on(device, {**arguments, **changes})}
    with pytest.raises(error, match=message):
        eff.langevin_transition(**arguments)
    assert residual.eq(1).all()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"grad": None}, TypeError, "grad: expected a tensor, got NoneType"),
        ({"grad": X.int()}, TypeError, "grad: expected float32, .* got torch.int32"),
        ({"grad": X[0, 0]}, ValueError, "grad: expected shape .* a tensor without axes"),
        ({"delta": X[:2]}, ValueError, "delta: expected the shape of x"),
        ({"delta": 0.0}, TypeError, "delta: expected a tensor, got float"),
        ({"grad": X.bfloat16(), "delta": X.bfloat16()}, TypeError,
         r"delta: expected torch\.float32 for a state of torch\.bfloat16, got torch\.bfloat16"),
        ({"compressor": eff.TopK(5)}, ValueError, "k: expected 0 <= k <= 4, .* got 5"),
        ({"compressor": 2}, TypeError, "compressor: expected TopK, .* got int"),
        ({"clip": 1.0}, TypeError, "clip: expected ClipValue, ClipNorm or None, got float"),
    ],
)  # fmt: skip
def test_what_drift_refuses(device, changes, error, message):
    arguments = {"grad": X.to(device), **on(device, changes)}
    with pytest.raises(error, match=message):
        eff.drift(**arguments)


@pytest.mark.parametrize("name", ["x", "grad", "residual", "step_size", "delta"])
def test_neither_is_differentiable(device, name):
    shape = () if name == "step_size" else (3, 4)
    leaf, x = torch.ones(shape, requires_grad=True, device=device), X.to(device)
    arguments = {"x": x, "grad": x, "step_size": 0.1, "compressor": eff.TopK(1), name: leaf}
    if name == "delta":
        with pytest.raises(RuntimeError, match="drift is not differentiable"):
            eff.drift(x, delta=leaf)
        return
    with pytest.raises(RuntimeError, match=r"langevin_transition is not diff.*detach\(\) it"):
        eff.langevin_transition(**arguments)
    with torch.no_grad():
        assert not eff.langevin_transition(**arguments).x.requires_grad


@pytest.mark.parametrize("compressor", [eff.TopK(2), torch.tanh])
def test_a_residual_that_shares_memory_is_refused(device, compressor):
    memory = normal(9, 4, device=device)
    before = memory.clone()
    for residual in (memory[:3], memory[1:4], memory[3:6], memory[2:5]):
        with pytest.raises(RuntimeError, match=r"residual and .*: expected .* do not overlap"):
            eff.langevin_transition(
                memory[:3], memory[3:6], 0.1, compressor=compressor, residual=residual
            )
    assert_same_bits(memory, before)


@pytest.mark.parametrize("compressor", [eff.TopK(2), torch.tanh])
def test_autograd_notices_what_the_transition_overwrites_and_nothing_else(device, compressor):
    weight = torch.ones(3, 4, requires_grad=True, device=device)
    x, grad, residual = (normal(3, 4, seed=seed, device=device) for seed in range(3))
    losses = [(weight * t).sum() for t in (x, grad, residual)]
    eff.langevin_transition(x, grad, 0.1, compressor=compressor, residual=residual)
    losses[0].backward()
    losses[1].backward()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        losses[2].backward()


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=named)
def test_inference_mode_gives_the_same_bits(device, compressor):
    x = X.to(device)
    residuals = [None if compressor is None else torch.ones_like(x) for _ in range(2)]
    options = {"compressor": compressor, "rng": eff.Key(2**40 + 1)}
    with torch.inference_mode():
        first = eff.langevin_transition(x + 1, x + 2, 0.1, residual=residuals[0], **options)
    second = eff.langevin_transition(x + 1, x + 2, 0.1, residual=residuals[1], **options)
    for got, want in zip(first, second, strict=True):
        assert_same_bits(got, want)


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=named)
def test_compiled_transitions_have_the_same_bits_and_compile_no_more_than_twice(device, compressor):
    from torch._dynamo.testing import CompileCounterWithBackend

    def both(x, grad, residual, step_size, key):
        options = {"compressor": compressor, "clip": eff.ClipNorm(1.0)}
        t = eff.langevin_transition(x, grad, step_size, residual=residual, rng=key, **options)
        delta = t.x.to(t.drift.dtype) - x.to(t.drift.dtype)
        return *t, *eff.drift(2 * grad, delta=delta, **options)

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(both, backend=counter, fullgraph=True)
    for i in range(5):
        # Offsets end where a row does: then only the number of chains may change.
        shape = (3 + i, 4 if isinstance(compressor, eff.BlockSign) else 4 + i)
        x, grad, memory = (normal(*shape, seed=seed, device=device) for seed in range(3))
        x, grad = x.bfloat16(), grad.bfloat16()
        residuals = [None if compressor is None else memory.clone() for _ in range(2)]
        step_size = torch.tensor(0.1 + i, device=device)
        want = both(x, grad, residuals[0], step_size, KEY.at(i))
        got = compiled(x, grad, residuals[1], step_size, KEY.at(i))
        for one, other in zip(got, want, strict=True):
            assert_same_bits(one, other)
        if compressor is not None:
            assert_same_bits(*residuals)
    assert counter.frame_count <= 2


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=named)
def test_meta_tensors_give_the_shapes(compressor):
    x = torch.empty(5, 2, 2, dtype=torch.bfloat16, device="meta").transpose(1, 2)
    t = eff.langevin_transition(x, x, 0.1, compressor=compressor, rng=KEY, bounds=(-1, 1))
    assert [v.dtype for v in t] == [torch.bfloat16, *[torch.float32] * 3]
    assert [v.shape for v in t] == [(5, 2, 2), (5, 2, 2), (5,), (5,)]
    assert t.x.is_contiguous()
    assert {v.device.type for v in (*t, *eff.drift(x, compressor=compressor))} == {"meta"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compressor", [0, 1, 2])
def test_opcheck(device, dtype, compressor):
    x, grad = (normal(3, 4, seed=seed, dtype=dtype, device=device) for seed in (0, 1))
    memory = normal(3, 4, seed=2, dtype=compute_dtype(dtype), device=device)
    options = {"compressor": compressor, "compressor_size": 2, "bounds": 1, "clip": 2}
    options = on(device, NEUTRAL) | options
    op = torch.ops.effebm.langevin_transition.default
    for residual in (None, memory):
        torch.library.opcheck(op, (x, grad), options | {"residual": residual})
    if compressor == 2:
        offsets = {"block_offsets": torch.tensor([0, 1, 4], device=device)}
        torch.library.opcheck(op, (x, grad), options | {"residual": memory} | offsets)
    for delta, sums_of in ((None, 1), (memory, 2)):
        arguments = (grad.t().contiguous().t(), delta, sums_of, compressor, 2, None, 1, 0.5)
        torch.library.opcheck(torch.ops.effebm.drift.default, arguments)


def test_the_ops_themselves_check_too(device):
    step, x, neutral = torch.ops.effebm.langevin_transition, X.to(device), on(device, NEUTRAL)
    with pytest.raises(RuntimeError, match="residual: expected Float, got Double"):
        step(x, x, residual=x.double(), **neutral)
    with pytest.raises(RuntimeError, match="grad: expected the shape of x"):
        step(x, x[:2], residual=None, **neutral)
    with pytest.raises(RuntimeError, match="delta: expected the shape of x"):
        torch.ops.effebm.drift(x, x[:2], 2)
    with pytest.raises(RuntimeError, match="delta: expected Float, got Double"):
        torch.ops.effebm.drift(x, x.double(), 2)
    for code in (0, 3):
        with pytest.raises(RuntimeError, match="row_sums_of: unknown code"):
            torch.ops.effebm.drift(x, None, code)
