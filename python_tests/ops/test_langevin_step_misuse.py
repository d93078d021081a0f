"""What langevin_step_ and langevin_step refuse, and how they stand with PyTorch's machinery."""

import pytest
import torch
from helpers import DTYPES, INF, LAYOUTS, NAN, normal
from step_cases import NEUTRAL

import effebm_ext as eff
from effebm_ext import _C
from effebm_ext.ops.checks import compute_dtype

X = torch.zeros(3, 4)
KEY = eff.Key(17)
CODES = _C.COMPRESSORS


def fake(device):
    with torch._subclasses.FakeTensorMode():
        return torch.empty(3, 4, device=device)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": [0.0]}, TypeError, "x: expected a tensor, got list"),
        ({"x": X.int()}, TypeError, r"x: expected float32, .* got torch\.int32"),
        ({"x": torch.tensor(0.0)}, ValueError, "x: expected shape .* a tensor without axes"),
        ({"x": fake("cuda")}, RuntimeError, "x is on cuda:0, but .* no CUDA kernels"),
        ({"grad": None}, TypeError, "grad: expected a tensor, got NoneType"),
        ({"grad": X.double()}, TypeError, r"grad: expected torch\.float32 .* got torch\.float64"),
        ({"grad": X[:2]}, ValueError, r"grad: expected the shape of x, \(3, 4\), got \(2, 4\)"),
        ({"grad": X.to("meta")}, ValueError, "grad: expected a tensor on cpu, got one on meta"),
        ({"step_size": torch.tensor(0.1, requires_grad=True)}, RuntimeError,
         r"not differentiable.*detach\(\) it"),
        ({"step_size": -0.1}, ValueError, r"step_size: expected a finite number >= 0, got -0\.1"),
        ({"step_size": NAN}, ValueError, "step_size: expected a finite number >= 0, got nan"),
        ({"step_size": INF}, ValueError, "step_size: expected a finite number >= 0, got inf"),
        ({"step_size": "0.1"}, TypeError, "step_size: expected a number or a tensor, got str"),
        ({"step_size": True}, TypeError, "step_size: expected a number or a tensor, got bool"),
        ({"step_size": X[:2]}, ValueError, r"step_size: .* or \(3, 4\), got shape \(2, 4\)"),
        ({"step_size": X[0]}, ValueError, r"step_size: .* or \(3,\), got shape \(4,\)"),
        ({"noise_std": -1}, ValueError, "noise_std: expected a finite number >= 0, got -1"),
        ({"noise_std": X[0]}, ValueError, r"noise_std: .* or \(3,\), got shape \(4,\)"),
        ({"compressor": "topk"}, TypeError, "compressor: expected TopK, .* a function .* got str"),
        ({"compressor": eff.TopK(5)}, ValueError, "k: expected 0 <= k <= 4, .* got 5"),
        ({"clip": 1.0}, TypeError, "clip: expected ClipValue, ClipNorm or None, got float"),
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
@pytest.mark.usefixtures("without_cuda_kernels")
def test_what_both_wrappers_refuse(op, changes, error, message):
    arguments = {"x": X.clone(), "grad": X, "step_size": 0.1, **changes}
    with pytest.raises(error, match=message):
        op(**arguments)


@pytest.mark.parametrize("name", ["x", "grad"])
def test_the_step_in_place_is_not_differentiable(name):
    tensors = {"x": X.clone(), "grad": X.clone()}
    tensors[name].requires_grad_()
    with pytest.raises(RuntimeError, match=r"not differentiable, but an argument.*detach\(\) it"):
        eff.langevin_step_(**tensors, step_size=0.1)


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
    eff.langevin_step_(memory[:3], memory[3:6], 0.1, residual=memory[6:9], **topk)


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grad": X[:2]}, "grad: expected the shape of x"),
        ({"grad": X.double()}, "grad: expected Float, got Double"),
        ({"x": X.int(), "grad": X.int()}, "bfloat16 or float16, got Int"),
        ({"x": X[0, 0], "grad": X[0, 0]}, "got 0 dimensions"),
        ({"key": torch.zeros(2)}, "key: expected Long, got Float"),
        ({"key": torch.tensor([1, 2, 3])}, r"key: expected int64\[2\]"),
        ({"first_chain": 2**32 - 2}, r"first_chain: expected chains below 2\*\*32, got 4294967294"),
        ({"first_chain": -1}, "first_chain: expected chains below"),
        ({"step_sizes": torch.zeros(2)}, r"step_size: expected shape \(\) or \(n_chains,\)"),
        ({"noise_stds": torch.zeros((), dtype=torch.double)}, "noise_std: expected Float"),
        ({"compressor": CODES["topk"], "compressor_size": 5}, "k: expected 0 <= k <= 4, got 5"),
        ({"compressor": CODES["block_sign"]}, "block_size: expected at least 1, got 0"),
        ({"compressor": CODES["block_sign"], "block_offsets": torch.zeros(2)},
         "block_offsets: expected Long"),
        ({"compressor": 99}, "compressor: unknown code"),
        ({"clip": 3}, "clip: unknown code"),
        ({"bounds": 3}, "bounds: unknown code"),
    ],
)  # fmt: skip
def test_the_ops_themselves_check_too(changes, message):
    arguments = {"x": X.clone(), "grad": X, **NEUTRAL, **changes}
    with pytest.raises(RuntimeError, match=message):
        torch.ops.effebm.langevin_step(**arguments)
    with pytest.raises(RuntimeError, match=message):
        torch.ops.effebm.langevin_step_(residual=None, statistics=None, **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"statistics": torch.zeros(3)}, r"statistics: expected .* of shape \(n_chains, 2\)"),
        ({"statistics": torch.zeros(3, 2).double()}, "statistics: expected Float, got Double"),
        ({"residual": X[:2].clone()}, "residual: expected the shape of x"),
        ({"residual": X.double()}, "residual: expected Float, got Double"),
    ],
)
def test_the_in_place_op_itself_checks_too(changes, message):
    arguments = {"residual": None, "statistics": None, **NEUTRAL, **changes}
    with pytest.raises(RuntimeError, match=message):
        torch.ops.effebm.langevin_step_(X.clone(), X, **arguments)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compressor", [0, 1, 2])
def test_opcheck(dtype, compressor):
    x, grad = normal(3, 4, dtype=dtype), normal(3, 4, seed=1, dtype=dtype)
    options = NEUTRAL | {"compressor": compressor, "compressor_size": 2, "bounds": 1}
    torch.library.opcheck(torch.ops.effebm.langevin_step.default, (x, grad), options)
    options |= {"step_sizes": torch.rand(3).to(compute_dtype(dtype)), "statistics": None}
    for residual in (None, torch.zeros(3, 4, dtype=compute_dtype(dtype))):
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
