"""How torch is asked to capture, without a GPU; and on a GPU, captured chains of networks."""

import contextlib
import warnings

import pytest
import torch
from conftest import HAS_GPU
from helpers import assert_same_bits, normal

import effebm_ext as eff
from effebm_ext.networks import ConvEnergy, MLPEnergy
from effebm_ext.samplers import cuda_graphs
from effebm_ext.samplers.cuda_graphs import Graphs

needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="needs a GPU and a build with CUDA kernels")
KEY = eff.Key(3)


class Stream:
    def __init__(self, name, log):
        self.name, self.log = name, log

    def wait_stream(self, other):
        self.log.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def log(monkeypatch):
    """What torch.cuda is asked to do, in order; nothing of it is done."""
    log = []
    main, side = Stream("main", log), Stream("side", log)

    @contextlib.contextmanager
    def stream(at):
        log.append(f"on {at.name}")
        yield
        log.append("back")

    @contextlib.contextmanager
    def graph(graph, pool, stream, capture_error_mode):
        log.append(f"capture on {stream.name}, {pool}, {capture_error_mode}")
        try:
            yield
        finally:
            log.append("captured")

    class CUDAGraph:
        def replay(self):
            log.append("replay")

    fakes = {
        "Stream": lambda device: side,
        "current_stream": lambda: main,
        "stream": stream,
        "device": lambda device: contextlib.nullcontext(),
        "graph_pool_handle": lambda: "pool",
        "graph": graph,
        "CUDAGraph": CUDAGraph,
        "set_stream": lambda at: log.append(f"stay on {at.name}"),
        "current_device": lambda: 0,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(
        torch._C,
        "_cuda_endAllocateToPool",
        lambda device, pool: log.append(f"give up {pool}"),
        raising=False,
    )
    monkeypatch.setattr(cuda_graphs, "_failed", [])
    return log


def test_warming_up_is_on_the_stream_of_the_capture(log):
    Graphs(torch.device("cuda", 0)).warm_up(lambda: log.append("call"))
    assert log == [
        "side waits for main", "on side", "call", "call", "call", "back", "main waits for side",
    ]  # fmt: skip


def test_a_capture_takes_the_pool_and_a_thread_of_its_own(log):
    replay, results = Graphs(torch.device("cuda", 0)).record(lambda: log.append("call") or "seen")
    assert results == "seen"
    replay()
    assert log == ["capture on side, pool, thread_local", "call", "captured", "replay"]


def test_a_capture_that_fails_leaves_torch_as_it_was(log):
    def fail():
        raise RuntimeError("it waits")

    with pytest.raises(RuntimeError, match="it waits"):
        Graphs(torch.device("cuda", 0)).record(fail)
    assert log[1:] == ["captured", "give up pool", "stay on main"]
    assert len(cuda_graphs._failed) == 1  # the allocator may ask it


@pytest.mark.usefixtures("log")
def test_nothing_of_a_capture_stays_in_the_cache_of_autocast():
    seen = []
    graphs = Graphs(torch.device("cuda", 0))
    for way in (graphs.warm_up, graphs.record):
        way(lambda: seen.append(torch.is_autocast_cache_enabled()))
        assert torch.is_autocast_cache_enabled()
    assert seen == [False] * 4


def networks():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [(MLPEnergy((8,), width=64), (50, 8)), (ConvEnergy((1, 8, 8)), (20, 1, 8, 8))]


def states_of(samplers, x0, calls=(85, 20, 7)):
    """The states after calls of every sampler."""
    states = [sampler.init(x0, rng=KEY) for sampler in samplers]
    for n_steps in calls:
        for sampler, state in zip(samplers, states, strict=True):
            sampler.advance_(state, n_steps)
    return states


@needs_gpu
@pytest.mark.parametrize(
    ("gradient_dtype", "compiled"), [(None, False), (torch.bfloat16, False), (None, True)]
)
def test_captured_networks_on_a_gpu(gradient_dtype, compiled):
    options = {
        "step_size": lambda step: 0.01 / (1 + step),
        "temperature": 0.5,
        "compressor": eff.TopK(ratio=0.25),
        "error_feedback": True,
        "gradient_dtype": gradient_dtype,
        "compile": compiled,
    }
    for network, shape in networks()[: 1 if compiled else 2]:  # a compilation takes long
        network.cuda()
        samplers = [eff.Langevin(network, cuda_graph=c, **options) for c in (False, True)]
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            want, got = states_of(samplers, normal(*shape, device="cuda"))
        assert_same_bits(got.x, want.x)
        assert_same_bits(got.residual, want.residual)
        assert samplers[1].captured.taken == "captured"


@needs_gpu
def test_graphs_on_a_gpu_see_what_an_optimiser_writes():
    (network, shape), _ = networks()
    network.cuda()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    samplers = [eff.Langevin(network, step_size=0.01, cuda_graph=c) for c in (False, True)]
    states = [s.init(normal(*shape, device="cuda"), rng=KEY) for s in samplers]
    for _ in range(5):
        for sampler, state in zip(samplers, states, strict=True):
            sampler.advance_(state, 21)
        assert_same_bits(states[1].x, states[0].x)
        optimizer.zero_grad()
        (network(normal(*shape, seed=1, device="cuda")) - network(states[0].x)).mean().backward()
        optimizer.step()


@needs_gpu
def test_after_a_capture_that_fails_on_a_gpu_all_goes_on():
    def waiting(x):
        return x.square().sum(1) * (1 if float(x.detach().sum()) > 0 else 2)

    x0 = normal(50, 8, device="cuda")
    for _ in range(2):
        samplers = [eff.Langevin(waiting, step_size=0.01, cuda_graph=c) for c in (False, True)]
        with pytest.warns(RuntimeWarning, match="cuda_graph: the steps are made without"):
            want, got = states_of(samplers, x0)
        assert_same_bits(got.x, want.x)
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    torch.randn(3, device="cuda")
    torch.cuda.empty_cache()
    test_graphs_on_a_gpu_see_what_an_optimiser_writes()
