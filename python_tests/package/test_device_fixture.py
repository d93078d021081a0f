"""The stand-in for a GPU: old ways of writing a test fail on it, and it does what a GPU does."""

import copy
import ctypes
from types import SimpleNamespace

import conftest
import native
import pytest
import torch
from helpers import READ_ONLY_LAYOUTS, assert_same_bits, normal, on
from stand_in import DEVICE, StandIn

import effebm_ext as eff
from effebm_ext import _C, extension

TOPK = eff.TopK(2)
OPS = torch.ops.effebm
CODE = _C.COMPRESSORS["topk"]


@pytest.fixture
def stand_in(monkeypatch):
    """The mode, as in a build with CUDA kernels; those of the CPU take their place."""
    monkeypatch.setattr(extension, "cuda_missing", "")
    with StandIn() as mode:
        yield mode


# Each of these passes where the device is the CPU.


def looks_at_the_tensor_that_was_moved(device):
    x, grad = torch.zeros(3, 4), torch.ones(3, 4, device=device)
    eff.langevin_step_(x.to(device), grad, 0.1)
    assert x.all()


def looks_at_the_residual_that_was_moved(device):
    x, residual = normal(3, 4, device=device), torch.zeros(3, 4)
    eff.langevin_transition(x, x, 0.1, compressor=TOPK, residual=residual.to(device))
    assert residual.any()


def keeps_the_residual_on_the_cpu(device):
    x = normal(3, 4, device=device)
    eff.langevin_step_(x, x, 0.1, compressor=TOPK, residual=torch.zeros(3, 4))


def keeps_the_statistics_on_the_cpu(device):
    x = normal(3, 4, device=device)
    eff.langevin_step_(x, x, 0.1, statistics=torch.zeros(3, 2))


def compares_across_devices(device):
    x = normal(3, 4)
    assert torch.equal(eff.topk_compress(x.to(device), 4), x)


def compares_what_a_function_saw(device):
    grad = normal(3, 4)
    eff.drift(grad.to(device), compressor=lambda u: u if torch.equal(u, grad) else None)


def keeps_the_parameters_of_a_function_on_the_cpu(device):
    x = normal(3, 4, device=device)
    eff.langevin_step_(x, x, 0.1, compressor=torch.nn.Linear(4, 4))


def draws_from_a_generator_of_the_cpu(device):
    x = normal(3, 4, device=device)
    eff.langevin_step(x, x, 0.1, rng=torch.Generator().manual_seed(3))


def shares_memory_that_was_moved(device):
    memory = normal(6, 4)
    x, residual = memory[:3].to(device), memory[1:4].to(device)
    with pytest.raises(RuntimeError, match="overlap"):
        eff.langevin_step_(x, x, 0.1, compressor=TOPK, residual=residual)


def expands_a_residual_that_is_moved(device):
    x, residual = normal(3, 4, device=device), torch.zeros(1, 4).expand(3, 4).to(device)
    with pytest.raises(ValueError, match=r"residual: .* an expanded one"):
        eff.langevin_step_(x, x, 0.1, compressor=TOPK, residual=residual)


def compiles_for_the_cpu(device):
    def compress(x):
        return eff.topk_compress(x, 2)

    torch._dynamo.reset()
    x = normal(3, 4)
    compiled = torch.compile(compress, backend="eager", fullgraph=True)(x)
    assert_same_bits(compiled, compress(x.to(device)))


def gives_an_op_tensors_of_the_cpu(device):
    with pytest.raises(RuntimeError, match="k: expected 0 <= k <= 4, got 5"):
        OPS.compress(torch.zeros(3, 4), CODE, 5)


def gives_an_op_a_key_of_the_cpu(device):
    OPS.perturbed_pair(torch.zeros(3, 4, device=device), torch.tensor([1, 2]), 0, 0, 0.1)


def checks_an_op_on_the_cpu(device):
    torch.library.opcheck(OPS.compress.default, (normal(3, 4), CODE, 2))


def makes_a_tensor_without_a_device(device):
    eff.langevin_step(normal(3, 4, device=device) * torch.ones(4), torch.ones(3, 4), 0.1)


def masks_by_a_tensor_of_the_cpu(device):
    x = normal(3, 4, device=device)
    torch.where(torch.ones(3, 4, dtype=torch.bool), x, 0.0)


def reads_numpy(device):
    eff.topk_compress(normal(3, 4, device=device), 2).numpy()


LEFT = "has left a tensor on the CPU"
OLD_WAYS = [
    (looks_at_the_tensor_that_was_moved, AssertionError, "^assert"),
    (looks_at_the_residual_that_was_moved, AssertionError, "^assert"),
    (keeps_the_residual_on_the_cpu, ValueError, f"residual: expected a tensor on {DEVICE}"),
    (keeps_the_statistics_on_the_cpu, ValueError, f"statistics: expected a tensor on {DEVICE}"),
    (compares_across_devices, RuntimeError, "equal.* expected all tensors on"),
    (compares_what_a_function_saw, RuntimeError, "equal.* expected all tensors on"),
    (keeps_the_parameters_of_a_function_on_the_cpu, RuntimeError, "linear.* expected all tensors"),
    (draws_from_a_generator_of_the_cpu, ValueError, f"rng: expected a generator on {DEVICE}"),
    (shares_memory_that_was_moved, pytest.fail.Exception, "DID NOT RAISE"),
    (expands_a_residual_that_is_moved, pytest.fail.Exception, "DID NOT RAISE"),
    (compiles_for_the_cpu, AssertionError, "no argument is on the device"),
    (gives_an_op_tensors_of_the_cpu, AssertionError, LEFT),
    (gives_an_op_a_key_of_the_cpu, RuntimeError, LEFT),
    (checks_an_op_on_the_cpu, AssertionError, "no argument is on the device"),
    (makes_a_tensor_without_a_device, RuntimeError, "mul.* expected all tensors on"),
    (masks_by_a_tensor_of_the_cpu, RuntimeError, "where.* expected all tensors on"),
    (reads_numpy, TypeError, "to NumPy"),
]


@pytest.mark.parametrize(
    ("old_way", "error", "message"), OLD_WAYS, ids=[w[0].__name__ for w in OLD_WAYS]
)
def test_what_would_fail_on_a_gpu_fails(old_way, error, message, request):
    old_way(torch.device("cpu"))
    request.getfixturevalue("stand_in")
    with pytest.raises(error, match=message):
        old_way(DEVICE)


@pytest.mark.usefixtures("without_cuda_kernels")
def test_a_build_without_kernels_refuses_the_device():
    with StandIn(), pytest.raises(RuntimeError, match="no CUDA kernels"):
        eff.topk_compress(torch.zeros(3, 4, device=DEVICE), 5)


def run_by_the_hook(fixtures, test):
    run = conftest.pytest_pyfunc_call(SimpleNamespace(funcargs=fixtures))
    next(run)
    test()
    with pytest.raises(StopIteration):
        run.send(True)


def test_a_test_that_never_reaches_the_device_fails():
    run_by_the_hook({"device": DEVICE}, lambda: torch.ones(3, device=DEVICE))
    with pytest.raises(AssertionError, match="no tensor on the fixture `device`"):
        run_by_the_hook({"device": DEVICE}, lambda: torch.ones(3))
    with pytest.raises(pytest.fail.Exception, match="tensors on the fixture `device`"):
        run_by_the_hook({"kernels": "cuda"}, lambda: torch.ones(3))


@pytest.mark.usefixtures("stand_in")
def test_tensors_get_there_and_back_as_copies():
    x, other = normal(3, 4), torch.ones(1, device=DEVICE)
    ways = [
        lambda t: t.to(DEVICE),
        lambda t: t.to("cuda", torch.float32),
        lambda t: t.cuda(),
        lambda t: t.to(other),
        lambda t: t.type_as(other),
        lambda t: torch.as_tensor(t, device=DEVICE),
        lambda t: torch.empty_like(t, device=DEVICE).copy_(t),
    ]
    back = [lambda t: t.cpu(), lambda t: t.to("cpu"), lambda t: t.to(x), copy_to_the_cpu]
    for there in (way(x) for way in ways):
        assert there.device == DEVICE
        for here in (way(there) for way in back):
            assert here.device.type == "cpu"
            assert_same_bits(here, x)
            here.zero_()
        assert_same_bits(there, x)
        there.zero_()
    assert_same_bits(x, normal(3, 4))


def copy_to_the_cpu(t):
    return torch.empty(t.shape).copy_(t)


def backward(x):
    x = x.clone().requires_grad_()
    x.square().sum().backward()
    return x.grad


MADE_THERE = [
    lambda x: x[1:, 0],
    lambda x: x.t().unbind()[1],
    lambda x: x[torch.tensor([0, 2])],
    lambda x: x * torch.tensor(2.0),
    lambda x: torch.where(x > 0, x, torch.zeros(())),
    lambda x: x.max(1).indices,
    lambda x: x.double().sum(),
    lambda x: x.new_zeros(2),
    lambda x: torch.zeros_like(x),
    lambda x: torch.tensor([1, 2], device=x.device),
    lambda x: torch.rand(2, device="cuda", generator=torch.Generator("cuda")),
    lambda x: torch.nn.Linear(4, 2).to(DEVICE)(x),
    lambda x: copy.deepcopy(x),
    backward,
    lambda x: torch.autograd.grad(x.requires_grad_().sum(), x)[0],
    lambda x: torch.func.vmap(lambda row: row * 2)(x),
    lambda x: torch.func.jvp(torch.sin, (x,), (x,))[1],
    lambda x: eff.langevin_transition(x, x, 0.1, compressor=torch.tanh).drift_sq,
    lambda x: eff.langevin_step(x, x, 0.1, rng=torch.Generator(DEVICE)),
    lambda x: eff.BlockSign(block_offsets=[0, 1, 4]).compress(x),
    lambda x: torch.compile(lambda t: eff.topk_compress(t, 2), backend="eager")(x),
]


@pytest.mark.parametrize("make", MADE_THERE)
@pytest.mark.usefixtures("stand_in")
def test_what_is_made_from_its_tensors_lies_there(make):
    made = make(normal(3, 4, device=DEVICE))
    assert made.device == DEVICE
    assert made.get_device() == DEVICE.index
    assert made.is_cuda
    assert not made.is_cpu
    with pytest.raises(RuntimeError, match="expected all tensors on"):
        made + torch.ones(made.shape or 1)


@pytest.mark.usefixtures("stand_in")
def test_what_is_made_without_them_does_not():
    x = torch.ones(3, device=DEVICE)
    made = [torch.zeros(3), torch.zeros_like(x, device="cpu"), torch.Generator()]
    assert {m.device.type for m in made} == {"cpu"}
    assert x.to("meta").is_meta
    assert eff.topk_compress(x.to("meta"), 1).is_meta
    assert x.tolist() == [1, 1, 1]
    assert float(x.sum()) == 3


MIXED = [
    lambda here, there: there.add_(here),
    lambda here, there: here.add_(there),
    lambda here, there: here + there[0, 0],
    lambda here, there: torch.cat([here, there]),
    lambda here, there: torch.stack([there[0, 0], here[0, 0]]),
    lambda here, there: torch.equal(there[0, 0], here[0, 0]),
    lambda here, there: here[there > 0],
    lambda here, there: there.index_select(0, torch.tensor([0, 1])),
    lambda here, there: torch.func.vmap(lambda row: row * here[0])(there),
    lambda here, there: torch.library.opcheck(OPS.drift.default, (there, None), {"delta": here}),
    lambda here, there: torch.rand(2, device=DEVICE, generator=torch.Generator()),
    lambda here, there: torch.rand(2, generator=torch.Generator(DEVICE)),
]


@pytest.mark.parametrize("mix", MIXED)
@pytest.mark.usefixtures("stand_in")
def test_tensors_and_generators_of_two_devices_are_refused(mix):
    with pytest.raises(RuntimeError, match=r"expected (all tensors|a generator)"):
        mix(normal(3, 4), normal(3, 4, device=DEVICE))


def test_afterwards_torch_is_as_it_was():
    was = torch.Generator, torch.compile, torch.library.opcheck
    with StandIn():
        x = torch.ones(3, device=DEVICE)
        assert isinstance(torch.default_generator, torch.Generator)
    assert (torch.Generator, torch.compile, torch.library.opcheck) == was
    assert x.device.type == "cpu"


@pytest.mark.parametrize("place", ["cpu", DEVICE])
@pytest.mark.parametrize("layout", READ_ONLY_LAYOUTS)
@pytest.mark.usefixtures("stand_in")
def test_arguments_move_with_their_layout(layout, place):
    memory = normal(3, 2, 4)
    x = READ_ONLY_LAYOUTS[layout](memory)
    leaf = torch.ones(3, requires_grad=True)
    moved = on(place, {"x": x, "rest": [x[1:], (x, "name", 1.0)], "leaf": leaf})
    got, (part, (same, *others)) = moved["x"], moved["rest"]
    assert got.device == torch.device(place)
    assert_same_bits(got, x)
    assert got.stride() == x.stride()
    assert got.storage_offset() == x.storage_offset()
    assert got.untyped_storage().nbytes() == x.untyped_storage().nbytes()
    assert same is got
    assert others == ["name", 1.0]
    assert moved["leaf"].is_leaf
    assert moved["leaf"].requires_grad
    got.zero_()
    assert not part.any()
    assert_same_bits(x, READ_ONLY_LAYOUTS[layout](memory))


def test_emulated_kernels_take_the_place_of_the_cpus():
    launch = native.library().effebm_emulator_last_launch
    launch.restype = ctypes.POINTER(ctypes.c_uint)  # the first field is the number of blocks
    x = normal(5, 3000)
    launch()[0] = 77
    want = eff.topk_compress(x, 30)
    assert launch()[0] == 77
    with native.emulated_kernels():
        got = eff.topk_compress(x, 30)
    assert launch()[0] == 5
    assert_same_bits(got, want)
    launch()[0] = 77
    eff.topk_compress(x, 30)
    assert launch()[0] == 77
