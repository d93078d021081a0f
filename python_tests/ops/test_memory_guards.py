"""What the ops look at before they write: memory that they share, views, devices, block offsets.
Where they refuse something, nothing has been written."""

import re
import subprocess
import sys

import pytest
import torch
from conftest import HAS_GPU
from helpers import assert_same_bits, normal

import effebm_ext as eff
from effebm_ext import _C

RAW = torch.ops.effebm
KEY = eff.Key(17)
KEY_TENSOR = torch.tensor([17, 0])
DEVICES = ["cpu", *["cuda"] * HAS_GPU]
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="needs a GPU and a build with CUDA kernels")


def tensors(device="cpu", dtype=torch.float32):
    """x, grad, residual and statistics of three chains; positive, as step sizes are."""
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    x, grad = normal(3, 4).abs() + 0.1, normal(3, 4, seed=1)
    residual, statistics = normal(3, 4, seed=2).abs() + 0.1, normal(3, 2, seed=3).abs() + 0.1
    return (x.to(device, dtype), grad.to(device, dtype), residual.to(device, compute),
            statistics.to(device, compute))  # fmt: skip


def negated(t):
    return torch.complex(t, -t).conj().imag


# Scalars that lie in what a step writes


WITHIN = {
    "one element": lambda t: t[0, 0],
    "a later element": lambda t: t[2, 1],
    "a column": lambda t: t[:, 0],
    "of three in a row": lambda t: t.flatten()[2:5],
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("within", WITHIN)
@pytest.mark.parametrize("holder", [0, 2, 3], ids=["x", "residual", "statistics"])
@pytest.mark.parametrize("compressor", [eff.TopK(2), torch.sign], ids=["fused", "function"])
@pytest.mark.parametrize("name", ["step_size", "noise_std"])
def test_scalars_in_what_is_written_are_read_before(
    device, dtype, within, holder, compressor, name
):
    got, want = tensors(device, dtype), tensors(device, dtype)
    inside = WITHIN[within](got[holder])
    for (x, grad, residual, statistics), scalar in ((got, inside), (want, inside.clone())):
        options = {"step_size": 0.1, name: scalar, "compressor": compressor, "rng": KEY}
        eff.langevin_step_(x, grad, residual=residual, statistics=statistics, **options)
    for one, other in zip(got, want, strict=True):
        assert_same_bits(one, other)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("within", WITHIN)
def test_scalars_in_the_residual_of_a_transition_are_read_before(device, within):
    (x, grad, got, _), want = tensors(device), tensors(device)[2]
    inside = WITHIN[within](got)
    moves = [
        eff.langevin_transition(
            x, grad, scalar, noise_std=scalar, compressor=eff.TopK(2), residual=residual, rng=KEY
        )
        for residual, scalar in ((want, inside.clone()), (got, inside))
    ]
    for one, other in zip(*moves, strict=True):
        assert_same_bits(one, other)
    assert_same_bits(got, want)


@pytest.mark.parametrize("device", DEVICES)
def test_the_op_itself_reads_scalars_before_it_writes(device):
    got, want = tensors(device)[0], tensors(device)[0]
    grad, key = tensors(device)[1], KEY_TENSOR.to(device)
    scalars = got[0, 1].clone(), got[:, 0].clone()
    RAW.langevin_step_(want, grad, None, None, key, 0, 0, 0.0, scalars[0], None, scalars[1])
    RAW.langevin_step_(got, grad, None, None, key, 0, 0, 0.0, got[0, 1], None, got[:, 0])
    assert_same_bits(got, want)


# Views that cannot be written


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("compressor", [eff.TopK(2), torch.sign], ids=["fused", "function"])
@pytest.mark.parametrize("index", [0, 2, 3], ids=["x", "residual", "statistics"])
@pytest.mark.parametrize("view", [negated, torch._neg_view], ids=["strided", "contiguous"])
def test_negated_views_are_refused_before_a_write(raw, compressor, index, view):
    mine = list(tensors())
    if index == 3 and view is negated:
        view = torch._neg_view  # statistics are contiguous
    mine[index] = view(mine[index])
    before = [t.clone() for t in mine]
    x, grad, residual, statistics = mine

    def step():
        if raw:
            return RAW.langevin_step_(x, grad, residual, statistics, KEY_TENSOR, 0, 0, 0.1)
        options = {"residual": residual, "statistics": statistics, "compressor": compressor}
        return eff.langevin_step_(x, grad, 0.1, **options)

    with pytest.raises(ValueError, match=r"(x|residual|statistics): .* negated .*resolve_neg\(\)"):
        step()
    for one, other in zip(mine, before, strict=True):
        assert_same_bits(one.clone(), other)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("compressor", [eff.TopK(2), torch.sign], ids=["fused", "function"])
def test_a_transition_refuses_a_negated_residual(raw, compressor):
    x, grad, residual, _ = tensors()
    view = negated(residual)

    def step():
        if raw:
            return RAW.langevin_transition(x, grad, view, KEY_TENSOR, 0, 0, 0.1)
        return eff.langevin_transition(x, grad, 0.1, residual=view, compressor=compressor)

    with pytest.raises(ValueError, match=r"residual: .* negated .*resolve_neg\(\)"):
        step()
    assert_same_bits(view.clone(), residual)


@pytest.mark.parametrize("op", [eff.langevin_step_, eff.langevin_step, eff.langevin_transition])
def test_negated_views_can_be_read(op):
    x, grad, _, statistics = tensors()
    step_size = statistics[:, 0]
    results = []
    for read in (grad, negated(grad)):
        got = op(x.clone(), read, step_size, noise_std=torch._neg_view(-step_size), rng=KEY)
        results.append(got if isinstance(got, torch.Tensor) else got.x)
    assert_same_bits(*results)


@pytest.mark.parametrize("index", [0, 2], ids=["x", "residual"])
def test_the_op_refuses_expanded_tensors_before_a_write(index):
    mine = list(tensors())
    mine[index] = mine[index][:1].expand(3, 4)
    before = [t.clone() for t in mine]
    with pytest.raises(
        RuntimeError, match=r"(x|residual): expected a tensor of its own, got an ex"
    ):
        RAW.langevin_step_(*mine, KEY_TENSOR, 0, 0, 0.1)
    for one, other in zip(mine, before, strict=True):
        assert_same_bits(one.contiguous(), other)


def test_an_error_leaves_the_statistics_of_no_chains_alone():
    statistics = torch.full((3, 2), 7.0)
    with pytest.raises(RuntimeError, match="grad: expected the shape of x"):
        RAW.langevin_step_(
            torch.zeros(3, 0), torch.zeros(3, 1), None, statistics, KEY_TENSOR, 0, 0, 0.1
        )
    assert torch.equal(statistics, torch.full((3, 2), 7.0))


@pytest.mark.parametrize("name", ["x", "residual"])
def test_sparse_tensors_are_not_written(name):
    x, grad, residual, _ = tensors()
    mine = {"x": x, "residual": residual}
    mine[name] = mine[name].to_sparse()
    with pytest.raises(TypeError, match=rf"{name}: expected a dense tensor, .*torch\.sparse_coo"):
        eff.langevin_step_(grad=grad, step_size=0.1, compressor=eff.TopK(1), **mine)


def test_a_gradient_from_autocast_is_refused_with_both_dtypes():
    x, grad, _, _ = tensors()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = grad @ torch.eye(4)
        for one, other in ((x, cast), (cast.clone(), x)):
            expected = re.escape(f"grad: expected {one.dtype} for a state of {one.dtype}, got")
            with pytest.raises(TypeError, match=expected):
                eff.langevin_step_(one, other, 0.1)


# What compiled graphs and other callers give the ops without a wrapper


OFFSETS = [
    *([0, 16, 10**8], [0, -5, 32], [0, 16, 64], [0, 16, 31], [1, 16, 32], [-1, 16, 32]),
    *([0, 16, 16, 32], [0, 32, 16, 32], [0, 33], [0, 0], [2**62, -(2**62)]),
]
SIGNS = {"compressor": _C.COMPRESSORS["block_sign"], "compressor_size": 1}
BY_BLOCKS = {
    "compress": lambda x, b: RAW.compress(x, block_offsets=b, **SIGNS),
    "signs_pack": lambda x, b: RAW.signs_pack(x, 1, b),
    "signs_unpack": lambda x, b: RAW.signs_unpack(
        torch.zeros(2, 1, dtype=torch.int32), None, torch.ones(2, len(b) - 1), 32, 1, b
    ),
    "drift": lambda x, b: RAW.drift(x, None, 1, block_offsets=b, **SIGNS),
    "langevin_step": lambda x, b: RAW.langevin_step(
        x, x, KEY_TENSOR, 0, 0, 0.1, block_offsets=b, **SIGNS
    ),
    "langevin_step_": lambda x, b: RAW.langevin_step_(
        x, x, None, None, KEY_TENSOR, 0, 0, 0.1, block_offsets=b, **SIGNS
    ),
    "langevin_transition": lambda x, b: RAW.langevin_transition(
        x, x, None, KEY_TENSOR, 0, 0, 0.1, block_offsets=b, **SIGNS
    ),
}


@pytest.mark.parametrize("op", BY_BLOCKS)
@pytest.mark.parametrize("offsets", OFFSETS, ids=str)
def test_ops_refuse_offsets_that_leave_the_row(op, offsets):
    x, before = normal(2, 32), normal(2, 32)
    with pytest.raises(RuntimeError, match="block_offsets: expected integers that rise from 0 to "):
        BY_BLOCKS[op](x, torch.tensor(offsets))
    assert_same_bits(x, before)


@pytest.mark.parametrize("op", BY_BLOCKS)
def test_ops_take_offsets_that_are_sound(op):
    BY_BLOCKS[op](normal(2, 32), torch.tensor([0, 1, 31, 32]))


@pytest.mark.parametrize("first_chain", [2**63 - 1, 2**63 - 3, 2**32 - 2, -(2**63)])
def test_the_largest_first_chain_does_not_wrap(first_chain):
    x = torch.zeros(3, 4)
    with pytest.raises(RuntimeError, match=r"first_chain: expected chains below 2\*\*32"):
        RAW.langevin_step(x, x, KEY_TENSOR, 0, first_chain, 0.1)


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (torch.nan, 0.0), (0.0, torch.nan)])
@pytest.mark.parametrize("code", [1, 2])
def test_ops_refuse_bounds_out_of_order(code, bounds):
    x = torch.zeros(3, 4)
    with pytest.raises(RuntimeError, match="bounds: expected lower <= upper"):
        RAW.langevin_step(
            x, x, KEY_TENSOR, 0, 0, 0.1, bounds=code, lower=bounds[0], upper=bounds[1]
        )


@needs_gpu
@pytest.mark.parametrize("name", ["grad", "key", "step_sizes", "noise_stds", "block_offsets"])
def test_ops_refuse_tensors_on_another_device(name):
    mine = {"x": normal(3, 4), "grad": normal(3, 4), "key": KEY_TENSOR,
            "step_sizes": torch.zeros(3), "noise_stds": torch.zeros(3),
            "block_offsets": torch.tensor([0, 4])}  # fmt: skip
    mine = {key: t if key == name else t.cuda() for key, t in mine.items()}
    with pytest.raises(RuntimeError, match="expected a tensor on the device of x"):
        RAW.langevin_step(offset=0, first_chain=0, step_size=0.0, **SIGNS, **mine)


@needs_gpu
@pytest.mark.parametrize("offsets", [[0, 16, 64], [0, -5, 32], [0, 16, 10**8]], ids=str)
def test_wrong_offsets_on_a_gpu_stop_the_process(offsets):
    program = f"""
import torch, effebm_ext
x, b = torch.ones(2, 32, device="cuda"), torch.tensor({offsets}, device="cuda")
code = effebm_ext._C.COMPRESSORS["block_sign"]
torch.ops.effebm.compress(x, code, 1, b)
torch.cuda.synchronize()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode != 0
    assert "device-side assert" in done.stderr


@pytest.mark.parametrize("index", [0, 2, 3], ids=["x", "residual", "statistics"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_steps_refuse_to_write_negated_views(backend, index):
    mine = list(tensors())
    mine[index] = torch._neg_view(mine[index])
    before = [t.clone() for t in mine]

    def step(x, grad, residual, statistics):
        options = {"residual": residual, "statistics": statistics, "compressor": eff.TopK(2)}
        return eff.langevin_step_(x, grad, 0.1, rng=eff.Key(3), **options)

    torch._dynamo.reset()
    with pytest.raises(Exception, match="negated"):
        torch.compile(step, backend=backend, fullgraph=True)(*mine)
    for one, other in zip(mine, before, strict=True):
        assert_same_bits(one.clone(), other)
